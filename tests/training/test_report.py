"""The report: one file, offline, at any point of a run."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.training.tiny import tiny_config
from training.grid import save_png, sheet
from training.report import write_report
from training.run import Run


class Page(HTMLParser):
    """What a browser would fetch, and what it would show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def row(images: int, stage: int = 0) -> dict[str, Any]:
    return {
        "stage": stage,
        "images": images,
        "terms": {"d/adversarial": 1.5, "g/adversarial": 0.7},
        "signals": {"d_real": 0.6, "d_fake": 0.4},
        "grad_norm": {"d": 1.0, "g": 2.0},
        "rate": {"d": 1e-4, "g": 1e-4},
        "seconds": 1.0,
        "images_per_s": 100.0 + images,
    }


def run(path: Path, rows: list[dict[str, Any]], grids: int = 0) -> Run:
    made = Run.create(path)
    made.write_config(tiny_config("<b>my & data</b>"))
    made.stats_path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    for k in range(grids):
        picture = np.full((1, 4, 4, 1), k, np.uint8)
        save_png(sheet(picture, 1), made.samples / f"00-{1000 * k:010d}.png")
    return made


def page_of(run: Run) -> Page:
    return Page(write_report(run).read_text())


@pytest.mark.parametrize("ticks", [0, 1, 2, 300])
def test_report_opens_with_any_number_of_ticks_and_fetches_nothing(
    ticks: int, tmp_path: Path
) -> None:
    page = page_of(run(tmp_path / "00001-tiny", [row(8 * k + 8) for k in range(ticks)], grids=2))
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in page.text
    assert "@import" not in page.text
    assert "00001-tiny" in page.text
    figures = 2 + 4 * (ticks > 0)
    assert len(page.sources) == figures
    for source in page.sources:
        Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).verify()


def test_report_of_an_empty_run_says_so(tmp_path: Path) -> None:
    assert "No tick yet." in page_of(run(tmp_path / "r", [])).text


def test_report_shows_every_curve_the_newest_values_and_the_configuration(tmp_path: Path) -> None:
    text = page_of(run(tmp_path / "r", [row(8000), row(16_000)])).text
    for title in ("Losses", "D(x) and D(G(z))", "Gradient norms", "Learning rates"):
        assert title in text
    assert "16,000" in text
    assert "d/adversarial1.5" in text
    assert "d_fake0.4" in text
    assert "ema_kimg: 0.03" in text


def test_report_shows_each_signal_in_one_figure(tmp_path: Path) -> None:
    signals = {"d_real": 0.6, "jsd": 0.1, "diversity": 0.9, "energy_real": 3.0}
    page = page_of(run(tmp_path / "r", [row(8000) | {"signals": signals}]))
    for title in ("D(x)", "Jensen-Shannon", "Variety", "Signals of the system"):
        assert title in page.text
    assert len(page.sources) == 4 + 3
    only = page_of(run(tmp_path / "s", [row(8000) | {"signals": {"psnr_db": 20.0}}]))
    assert "D(x)" not in only.text
    assert "Signals of the system" in only.text


def test_report_escapes_what_the_user_named(tmp_path: Path) -> None:
    page = page_of(run(tmp_path / "a<i>b", []))
    assert "i" not in page.tags
    assert "b" not in page.tags
    assert "a<i>b" in page.text
    assert "<b>my & data</b>" in page.text


def test_report_shows_the_first_grid_the_last_and_some_between(tmp_path: Path) -> None:
    text = page_of(run(tmp_path / "r", [row(8)], grids=40)).text
    shown = re.findall(r"stage 0, after ([\d,]+) images", text)
    assert len(shown) == 6
    assert (shown[0], shown[-1]) == ("0", "39,000")


def test_report_leaves_out_pictures_that_are_not_of_the_run(tmp_path: Path) -> None:
    made = run(tmp_path / "r", [row(8)], grids=1)
    for name in ("foo.png", "a-b.png", "00-1.png"):
        (made.samples / name).write_bytes(b"mine")
    assert len(re.findall("stage 0, after", page_of(made).text)) == 1


def test_report_counts_the_images_of_all_stages(tmp_path: Path) -> None:
    rows = [row(500), row(1000), row(500, stage=1), row(1000, stage=1), row(7, stage=2)]
    assert "Images seen2,007" in page_of(run(tmp_path / "r", rows)).text


def test_report_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(tmp_path / "r", [row(8)])
    before = write_report(made).read_text()

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_report(made)
    assert made.report_path.read_text() == before
