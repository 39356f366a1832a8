"""Two sets side by side: what meets in training, what is a pair in the test, and no leak."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.data import odd
from tests.training.data.odd import BLUE, GREEN, RED, fill
from training.data import absolute_pairing, emoji, frame, load, vendors
from training.data.dataset import Dataset
from training.data.emoji import in_split, openmoji_base
from training.data.named import NAMED
from training.data.unpaired import other_source, shuffled, strangers
from training.errors import DataError

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def disc(fill: str, radius: int) -> str:
    return f'<svg viewBox="0 0 72 72"><circle cx="30" cy="40" r="{radius}" fill="{fill}"/></svg>'


def firsts(images: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(map(int, image[0, 0])) for image in images]


def folder(place: Path, split: str, colours: list[tuple[int, ...]]) -> Path:
    return fill(place, {f"{split}/{k:02d}.png": odd.plain(c) for k, c in enumerate(colours)})


# --- The user's own. ---


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Five reds and greens of a first domain, eleven blues of a second; tests of three and two."""
    first, second = tmp_path / "drawn", tmp_path / "flat"
    folder(first, "train", [RED, RED, RED, GREEN, GREEN])
    folder(second, "train", [BLUE] * 11)
    folder(first, "test", [RED, GREEN, RED])
    folder(second, "test", [BLUE, BLACK])
    return first, second


def test_the_shorter_is_repeated_and_the_longer_as_it_is(two: tuple[Path, Path]) -> None:
    first, second = two
    data = load(second, size=8, pairing=f"unpaired:{first}")
    assert data.sources is not None
    assert len(data) == len(data.sources) == 11
    assert data.domains == ("drawn", "flat")
    assert data.name == "drawn and flat"
    assert firsts(data.images) == [BLUE] * 11
    assert set(firsts(data.sources)) == {RED, GREEN}
    assert 6 <= firsts(data.sources).count(RED) <= 7
    other = load(first, size=8, pairing=f"unpaired:{second}")
    assert other.domains == ("flat", "drawn")
    assert len(other) == 11
    assert other.sources is not None
    assert firsts(other.sources) == [BLUE] * 11
    assert data.fingerprint != other.fingerprint


def test_tests_are_pairs_in_order(two: tuple[Path, Path]) -> None:
    first, second = two
    data = load(second, size=8, pairing=f"unpaired:{first}", split="test")
    assert data.sources is not None
    assert firsts(data.sources) == [RED, GREEN]
    assert firsts(data.images) == [BLUE, BLACK]


def test_labels_are_nobody_s(npz: Path) -> None:
    data = load(npz, pairing=f"unpaired:{npz}")
    assert data.labels is None
    assert data.classes == ()
    assert data.captions is None
    assert data.domains == ("first", "second")
    assert data.sources is not None
    assert not np.array_equal(data.sources, data.images)
    same = [sorted(picture.tobytes() for picture in part) for part in (data.sources, data.images)]
    assert same[0] == same[1]


def test_sizes_agree_and_so_may_channels(two: tuple[Path, Path], npz: Path) -> None:
    data = load(two[0], pairing=f"unpaired:{npz}", size=16)
    assert data.sources is not None
    assert (data.images.shape[3], data.sources.shape[3]) == (3, 1)
    data = load(two[0], pairing=f"unpaired:{npz}", channels=3)
    assert data.sources is not None
    assert data.sources.shape[1:] == data.images.shape[1:] == (64, 64, 3)


def test_a_folder_that_is_none_says_so(two: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="no data set or path called nowhere"):
        load(two[0], pairing="unpaired:nowhere")


def test_a_source_is_found_again_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_pairing("unpaired:mine") == f"unpaired:{tmp_path / 'mine'}"
    assert absolute_pairing("unpaired:mnist") == "unpaired:mnist"
    assert other_source("unpaired:mnist") == "mnist"
    assert other_source("left") is None
    assert other_source(None) is None


def test_each_row_comes_as_often_as_any_other_but_for_one() -> None:
    rows = shuffled(5, 13, seed=0)
    assert sorted(np.bincount(rows, minlength=5).tolist()) == [2, 2, 3, 3, 3]
    assert not np.array_equal(rows[:5], np.arange(5))
    assert not np.array_equal(rows[:5], rows[5:10])
    assert np.array_equal(rows, shuffled(5, 13, seed=0))


def test_none_stands_beside_itself() -> None:
    first, second = [f"{k % 6}" for k in range(17)], [f"{k}" for k in range(6)]
    one, other = strangers(first, second, 17)
    assert all(first[a] != second[b] for a, b in zip(one, other, strict=True))
    assert set(one) == set(range(17))
    assert set(other) == set(range(6))


def test_one_name_for_all_cannot_be_kept_apart() -> None:
    one, other = strangers(["a", "a"], ["a", "a"], 2)
    assert sorted(one) == sorted(other) == [0, 1]


# --- The two vendors. ---


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty glyphs of one vendor, red; the last twenty of them of the other, blue."""
    drawings = tmp_path / "openmoji"
    drawings.mkdir()
    for k in range(30):
        (drawings / f"{0x1F400 + k:X}-FE0F.svg").write_text(disc("#c81e14", 20 + k % 3))
    for left_out in ("1F44B-1F3FD", "1F1E9-1F1EA", "E042"):
        (drawings / f"{left_out}.svg").write_text(disc("#000", 20))
    icons = {
        f"a-{k}": {"body": '<rect x="9" y="9" width="8" height="8" fill="#1e3cd2"/>'}
        for k in range(30)
    }
    named = {f"{0x1F400 + k:x}": f"a-{k}" for k in range(10, 30)}
    named |= {"1f44b-1f3fd": "a-0", "1f408": "nowhere", "1f4aa": "a-10"}
    home = tmp_path / "icons" / "fluent-emoji-flat"
    home.mkdir(parents=True)
    (home / "icons.json").write_text(json.dumps({"icons": icons}))
    (home / "chars.json").write_text(json.dumps(named))
    monkeypatch.setattr(vendors, "openmoji_folder", lambda: drawings)
    return tmp_path / "icons"


def test_training_has_both_vendors_and_the_test_what_both_have(packages: Path) -> None:
    train, test = (load(f"emoji-unpaired:{packages}", size=8, split=s) for s in ("train", "test"))
    held_out = [k for k in range(30) if in_split(f"{0x1F400 + k:X}", "test")]
    assert len(train) == 30 - len(held_out)
    assert len(test) == sum(k >= 10 for k in held_out) > 0
    for data in (train, test):
        assert data.sources is not None
        assert data.domains == ("openmoji", "fluent")
        assert set(middle(data.sources)) == {RED}
        assert set(middle(data.images)) == {BLUE}
    assert "AND" in train.licence
    assert all(name in train.attribution for name in ("OpenMoji", "Microsoft"))


@pytest.mark.parametrize("channels", [1, 3])
def test_both_vendors_have_the_channels_that_are_asked_for(packages: Path, channels: int) -> None:
    data = load(f"emoji-unpaired:{packages}", size=8, channels=channels)
    assert data.sources is not None
    assert data.images.shape[3] == data.sources.shape[3] == channels


def middle(images: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(map(int, image[4, 4])) for image in images]


def test_no_variant_of_a_test_glyph_is_trained_on(packages: Path) -> None:
    ours = packages.parent / "openmoji"
    both = vendors.openmoji_drawings(ours), vendors.fluent_drawings(packages)
    assert [len(drawings) for drawings in both] == [30, 20]
    for drawings in both:
        bases = {
            split: {
                openmoji_base(p.split("-")) for p in drawings if in_split(vendors._base(p), split)
            }
            for split in ("train", "test")
        }
        assert not bases["train"] & bases["test"]
    assert "1F4AA" not in both[1]  # the drawing of another code point


def test_the_packages_hold_what_is_told() -> None:
    """OpenMoji's is installed; Fluent has no glyph that it has not, as its tests show."""
    installed = emoji.openmoji_folder()
    assert installed is not None
    drawings = vendors.openmoji_drawings(installed)
    train = sum(in_split(vendors._base(points), "train") for points in drawings)
    assert NAMED["emoji-unpaired"].counts["train"] == train


@pytest.mark.parametrize("radius", [10, 25])
def test_glyphs_fill_the_same_share_of_the_picture(radius: int) -> None:
    """Whatever its size and place, the ink ends a sixteenth of the side before the edge."""
    drawing = disc("#000", radius)

    def paint(view: str, side: int) -> np.ndarray:
        assert view == drawing
        picture = np.full((side, side, 3), 255, np.uint8)
        top, left, reach = (
            int(number * side / 72) for number in (40 - radius, 30 - radius, 2 * radius)
        )
        picture[top : top + reach, left : left + reach] = 0
        return picture

    view = frame.VIEW.search(frame.around_ink(drawing, paint))
    assert view is not None
    left, top, width, height = map(float, view[1].split())
    assert width == height == pytest.approx(2 * radius * 8 / 7, rel=0.02)
    assert (left + width / 2, top + height / 2) == pytest.approx((30, 40), abs=0.3)


def test_a_drawing_without_ink_is_left_alone() -> None:
    blank = np.full((frame.LOOK, frame.LOOK, 3), 255, np.uint8)
    assert frame.around_ink(disc("#fff", 9), lambda view, side: blank) == disc("#fff", 9)


def test_another_folder_is_refused(tmp_path: Path, packages: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)not on this machine.*npm install"):
        load(f"emoji-unpaired:{tmp_path}")
    (packages / "fluent-emoji-flat" / "chars.json").write_text("{}")
    with pytest.raises(DataError, match="no glyph is in it"):
        load(f"emoji-unpaired:{packages}")


def test_a_computed_pairing_makes_pairs_of_it(packages: Path) -> None:
    data: Dataset = load(f"emoji-unpaired:{packages}", size=8, pairing="greyscale")
    assert data.domains == ()
    assert data.sources is not None
    assert data.sources.shape[3] == 1
