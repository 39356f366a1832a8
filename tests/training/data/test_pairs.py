"""Pairs: out of halves, out of two folders, and computed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data import odd
from tests.training.data.odd import BLUE, GREEN, RED, fill, zipped
from tests.training.tiny import write_npz
from training.data import absolute_pairing, load
from training.data.dataset import Dataset
from training.errors import DataError


def colours(data: Dataset) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The first pixel of each source and of its image."""
    assert data.sources is not None
    return [
        (tuple(map(int, source[0, 0])), tuple(map(int, image[0, 0])))
        for source, image in zip(data.sources, data.images, strict=True)
    ]


def beside(left: tuple[int, ...], right: tuple[int, ...], size: tuple[int, int]) -> bytes:
    width, height = size
    image = Image.new("RGB", size, left)
    image.paste(right, (width - width // 2, 0, width, height))
    return odd.encoded(image)


@pytest.mark.parametrize("size", [(40, 20), (41, 20), (64, 30)])
def test_the_halves_of_a_picture_are_a_pair(tmp_path: Path, size: tuple[int, int]) -> None:
    files = {"1.png": beside(RED, BLUE, size), "2.png": beside(GREEN, RED, size)}
    folder = fill(tmp_path / "set", files)
    left, right = (load(folder, size=8, pairing=half) for half in ("left", "right"))
    assert colours(left) == [(RED, BLUE), (GREEN, RED)]
    assert colours(right) == [(BLUE, RED), (RED, GREEN)]
    assert left.images.shape == left.images.shape == (2, 8, 8, 3)
    assert left.fingerprint != right.fingerprint
    assert load(folder, size=8).sources is None


def test_halves_of_test_pictures(tmp_path: Path) -> None:
    pair, other = beside(RED, BLUE, (40, 20)), beside(GREEN, BLUE, (40, 20))
    files = {f"{split}/{k}.png": pair for split in ("train", "test") for k in range(2)}
    folder = fill(tmp_path / "set", {**files, "test/2.png": other})
    assert len(load(folder, size=8, pairing="left")) == 2
    assert colours(load(folder, size=8, pairing="left", split="test"))[2] == (GREEN, BLUE)


def test_a_picture_that_is_no_pair_is_skipped(tmp_path: Path) -> None:
    files = {f"{k}.png": beside(RED, BLUE, (40, 20)) for k in range(2)}
    folder = fill(tmp_path / "set", {**files, "tall.png": odd.plain(RED, (20, 30))})
    [skipped] = load(folder, size=8, pairing="left").skipped
    assert skipped.name == "tall.png"
    assert "not two pictures side by side" in skipped.reason


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_pictures_of_the_same_name_are_a_pair(tmp_path: Path, kind: str) -> None:
    images = fill(
        tmp_path / "photographs",
        {"a/1.png": odd.plain(RED), "a/10.png": odd.plain(GREEN), "b/1.png": odd.plain(BLUE)},
    )
    drawings = {"b/1.bmp": odd.grey(3), "a/1.bmp": odd.grey(1), "a/10.bmp": odd.grey(2)}
    folder, packed = tmp_path / "drawings", tmp_path / "drawings.zip"
    place = fill(folder, drawings) if kind == "folder" else zipped(packed, drawings)
    data = load(images, size=8, pairing=str(place))
    assert colours(data) == [((1,), RED), ((2,), GREEN), ((3,), BLUE)]
    assert data.sources is not None
    assert data.sources.shape == (3, 8, 8, 1)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.skipped == ()


def test_pictures_without_a_partner_are_skipped_by_name(tmp_path: Path) -> None:
    images = fill(tmp_path / "a", {f"{k}.png": odd.plain(RED) for k in range(4)})
    partners = {"0.jpg": odd.plain(BLUE), "2.jpg": b"broken", "3.jpg": odd.plain(GREEN)}
    data = load(images, size=8, pairing=str(fill(tmp_path / "b", partners)))
    assert [image for _, image in colours(data)] == [RED, RED]
    assert [(name, "to be produced from" in reason) for name, reason in data.skipped] == [
        ("1.png", True),
        ("2.jpg", False),
        ("2.png", True),
    ]


def test_no_partner_at_all_is_an_error(tmp_path: Path) -> None:
    images = fill(tmp_path / "a", {f"{k}.png": odd.plain(RED) for k in range(2)})
    others = fill(tmp_path / "b", {f"other{k}.png": odd.plain(RED) for k in range(2)})
    with pytest.raises(DataError, match="found 0 usable train images"):
        load(images, size=8, pairing=str(others))


def test_a_pairing_that_is_none(tmp_path: Path) -> None:
    images = fill(tmp_path / "a", {f"{k}.png": odd.plain(RED) for k in range(2)})
    with pytest.raises(DataError, match=r"no pairing or folder called edge\. Did you mean edges"):
        load(images, size=8, pairing="edge")


def test_pairs_in_files_need_files(npz: Path) -> None:
    with pytest.raises(DataError, match="holds arrays, and pairing=left is for pictures in files"):
        load(npz, pairing="left")
    with pytest.raises(DataError, match="with fashion-mnist-subset, leave it out"):
        load("fashion-mnist-subset", pairing="left")


def test_computed_sources_are_found_again(npz: Path, cache: Path) -> None:
    first = load(npz, pairing="greyscale")
    [home] = (cache / "computed").iterdir()
    (home / "pixels").write_bytes(bytes(first.sources.size if first.sources is not None else 0))
    again = load(npz, pairing="greyscale")
    assert again.sources is not None
    assert not again.sources.any()  # what lies in the cache
    (home / "pixels").write_bytes(b"cut short")
    assert load(npz, pairing="greyscale").fingerprint == first.fingerprint


def test_computed_sources_depend_on_images_and_operator(npz: Path, tmp_path: Path) -> None:
    prints = {load(npz, pairing=pairing).fingerprint for pairing in (None, "mask", "edges")}
    assert len(prints) == 3
    other = write_npz(tmp_path / "other.npz", seed=1)
    mine, others = (load(place, pairing="edges").sources for place in (npz, other))
    assert mine is not None
    assert others is not None
    assert not np.array_equal(mine, others)


def test_a_folder_is_found_from_anywhere() -> None:
    assert absolute_pairing("edges") == "edges"
    assert absolute_pairing("left") == "left"
    assert absolute_pairing(None) is None
    assert absolute_pairing("drawings") == os.path.abspath("drawings")
