"""What each operator leaves of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.dataset import Images
from training.data.operators import BLACK, OPERATORS, WHITE, downscale, edges, greyscale, mask


def stream(key: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


def disc(size: int = 64, channels: int = 3) -> Images:
    """A bright disc of radius 20 on a dark ground."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    inside = np.hypot(rows, columns) < 20
    return np.repeat(np.where(inside, 220, 30).astype(np.uint8)[..., None], channels, axis=2)


def noise(channels: int = 3) -> Images:
    return np.random.default_rng(0).integers(0, 256, (32, 48, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATORS)
def test_pictures_come_out_of_the_same_size(name: str, channels: int) -> None:
    picture = noise(channels)
    before = picture.copy()
    made = OPERATORS[name](picture, stream())
    assert made.dtype == np.uint8
    assert made.shape[:2] == picture.shape[:2]
    assert made.shape[2] == (1 if name in ("edges", "greyscale") else channels)
    assert np.array_equal(picture, before)


def test_edges_are_thin_lines_where_the_brightness_changes() -> None:
    made = edges(disc(), stream())[..., 0]
    assert set(np.unique(made)) == {BLACK, WHITE}
    rows, columns = np.nonzero(made == BLACK)
    radii = np.hypot(rows - 31.5, columns - 31.5)
    assert np.abs(radii - 20).max() < 2
    angles = np.unique(np.round(np.arctan2(rows - 31.5, columns - 31.5) / (2 * np.pi) * 36))
    assert len(angles) >= 36  # all the way round
    assert len(rows) < 1.5 * 2 * np.pi * 20  # one pixel wide


def test_a_plain_picture_has_no_edges() -> None:
    assert (edges(np.full((16, 16, 3), 90, np.uint8), stream()) == WHITE).all()


def test_a_weak_edge_counts_only_as_part_of_a_strong_one() -> None:
    picture = np.full((32, 64, 1), 100, np.uint8)
    picture[:, 32:] = 100 + 70  # strong, at the top; weak below it
    picture[16:, 32:] = 100 + 30
    weak = np.full((32, 64, 1), 100, np.uint8)
    weak[:, 32:] = 100 + 30
    assert (edges(picture, stream())[4:28, 31:33] == BLACK).any(axis=1).all()
    assert (edges(weak, stream()) == WHITE).all()


def test_greyscale_is_luma() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert (greyscale(red, stream()) == 76).all()


def test_downscale_keeps_the_mean_of_blocks_and_no_detail() -> None:
    picture = noise()
    made = downscale(picture, stream())
    assert abs(made.mean() - picture.mean()) < 2
    assert np.diff(made.astype(float), axis=0).std() < 0.2 * np.diff(picture.astype(float), 0).std()


def test_a_mask_is_one_white_rectangle_somewhere_inside() -> None:
    picture = noise() // 2
    places = set()
    for key in range(20):
        made = mask(picture, stream(key))
        rows, columns = np.nonzero((made == WHITE).all(2))
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        assert len(rows) == (bottom - top) * (right - left)
        assert 32 / 4 <= bottom - top <= 32 / 2
        assert 48 / 4 <= right - left <= 48 / 2
        assert ((made == picture) | (made == WHITE)).all()
        places.add((top, left))
    assert len(places) > 10


def test_one_stream_is_one_mask() -> None:
    assert np.array_equal(mask(noise(), stream(3)), mask(noise(), stream(3)))
