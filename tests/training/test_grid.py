"""Sheets of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.grid import BACKGROUND, CAPTION_HEIGHT, GAP, save_png, sheet

IMAGES = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((6, 4, 1), 40, np.uint8)


def test_images_lie_in_rows_with_gaps() -> None:
    page = np.asarray(sheet(IMAGES, 3))
    assert page.shape == (2 * 6 + 3 * GAP, 3 * 4 + 4 * GAP)
    for k, image in enumerate(IMAGES[:, :, :, 0]):
        top, left = GAP + k // 3 * (6 + GAP), GAP + k % 3 * (4 + GAP)
        assert np.array_equal(page[top : top + 6, left : left + 4], image)
    rest = page[GAP + 6 + GAP :, GAP + 2 * (4 + GAP) :]
    assert (rest == 255).all()
    assert BACKGROUND == "white"


def test_colour_stays_colour() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    page = sheet(colours, 2)
    assert page.mode == "RGB"
    assert np.array_equal(np.asarray(page)[GAP : GAP + 4, GAP : GAP + 4], colours[0])


def test_scale_repeats_pixels() -> None:
    checks = np.indices((4, 4)).sum(0).astype(np.uint8)[None, :, :, None] % 2 * 255
    page = np.asarray(sheet(checks, 1, scale=3))
    assert np.array_equal(page[GAP:-GAP, GAP:-GAP], np.kron(checks[0, :, :, 0], np.ones((3, 3))))


def test_fewer_images_than_columns_make_a_narrower_page() -> None:
    assert sheet(IMAGES, 100).width == 5 * (4 + GAP) + GAP


def test_captions_are_below_their_images_and_no_wider() -> None:
    wide = np.full((2, 40, 40, 1), 100, np.uint8)
    page = np.asarray(sheet(wide, 2, captions=["a word far too long for its place", ""]))
    assert page.shape[0] == 40 + 2 * GAP + CAPTION_HEIGHT
    below = page[GAP + 40 : GAP + 40 + CAPTION_HEIGHT]
    assert (below[:, GAP : GAP + 40] < 100).any()
    assert (below[:, GAP + 40 :] == 255).all()
    assert (page[GAP : GAP + 40, GAP : GAP + 40] == 100).all()


def test_a_png_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.png"
    page = sheet(IMAGES, 3)
    save_png(page, path)
    with Image.open(path) as written:
        assert np.array_equal(np.asarray(written), np.asarray(page))
    before = path.read_bytes()
    with pytest.raises(OSError, match="cannot write mode"):
        save_png(Image.new("HSV", (4, 4)), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
