"""``ganymede data``, as typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.training.data import odd
from tests.training.data.odd import BLUE, GREEN, RED, fill
from training.data.commands import app
from training.data.named import NAMED
from training.data.progress import progress_bars
from training.errors import DataError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def source(tmp_path: Path) -> Path:
    files = {f"red/{k}.png": odd.plain(RED) for k in range(3)}
    files |= {f"[bold]/{k}.png": odd.plain(BLUE) for k in range(2)}
    return fill(tmp_path / "set", {**files, "red/bad.png": b"no"})


def test_list_names_every_set_and_whether_it_is_here() -> None:
    lines = run("list").splitlines()
    for name, named in NAMED.items():
        [line] = [line for line in lines if line.split()[:1] == [name]]
        assert named.licence in line
        assert f"{named.counts['train']:,}" in line
    assert " yes " in next(line for line in lines if "fashion-mnist-subset" in line)


def test_info_tells_what_a_set_is(source: Path) -> None:
    told = run("info", "fashion-mnist-subset", "--split", "test")
    for words in ("2,000 of 28 x 28, grey (test)", "MIT", "Zalando", "200 sneaker"):
        assert words in told


def test_info_names_what_was_left_out(source: Path) -> None:
    told = run("info", str(source), "--size", "16")
    for words in (
        "5 of 16 x 16, RGB",
        "3 red",
        "2 [bold]",
        "skipped      1",
        "red/bad.png (not a picture",
    ):
        assert words in told


def test_info_of_images_without_labels(tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": odd.plain(RED), "b.png": odd.plain(GREEN)})
    assert "the images have no labels" in run("info", str(tmp_path))


def test_grid_draws_a_row_of_each_class(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    run("grid", str(source), "--out", str(out), "--size", "64", "--columns", "3")
    with Image.open(out) as image:
        pixels = np.asarray(image.convert("RGB"))
    across, down = (2 + 66 * k + 32 for k in range(3)), (2 + 79 * k + 32 for k in range(2))
    columns, rows = list(across), list(down)
    assert pixels.shape[:2] == (2 + 2 * 79, 2 + 3 * 66)
    shown = [[tuple(pixels[y, x]) for x in columns] for y in rows]
    assert shown == [[BLUE, BLUE, (255, 255, 255)], [RED, RED, RED]]


def test_grid_of_images_without_labels_spreads_over_all(tmp_path: Path) -> None:
    fill(tmp_path, {f"{k:02}.png": odd.grey(k) for k in range(50)})
    out = tmp_path / "sheet.png"
    run("grid", str(tmp_path), "--out", str(out), "--columns", "2", "--rows", "1", "--size", "64")
    with Image.open(out) as image:
        assert (image.getpixel((10, 10)), image.getpixel((80, 10))) == (0, 49)


def test_errors_are_the_packages_own(tmp_path: Path) -> None:
    for arguments in (["info", "nowhere"], ["grid", "nowhere", "--out", "x.png"]):
        with pytest.raises(DataError, match="nowhere"):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
    (tmp_path / "file").write_bytes(b"")
    arguments = ["grid", "fashion-mnist-subset", "--out", str(tmp_path / "file" / "x.png")]
    with pytest.raises(DataError, match="cannot be written"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_progress_bars_take_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("reading", 1, 2)
        progress("decoding", 2, 2)
    assert capsys.readouterr().out == ""


def test_pairs_are_told_and_drawn_side_by_side(tmp_path: Path) -> None:
    images = fill(tmp_path / "a", {f"{k}.png": odd.plain(RED) for k in range(2)})
    partners = fill(tmp_path / "b", {f"{k}.png": odd.plain(BLUE) for k in range(2)})
    told = run("info", str(images), "--pairing", str(partners))
    assert "one for each image, RGB" in told
    assert "none: the images come alone" in run("info", str(images))
    told = run("info", str(images), "--pairing", f"unpaired:{partners}")
    assert "of b, RGB, while images are of a" in told
    out = tmp_path / "grid.png"
    run("grid", str(images), "--pairing", str(partners), "--out", str(out), "--columns", "5")
    with Image.open(out) as page:
        assert page.size == (4 * (64 + 2) + 2, 64 + 2 + 2)
        colours = [page.getpixel((2 + 66 * k, 2)) for k in range(4)]
    assert colours == [BLUE, RED, BLUE, RED]
