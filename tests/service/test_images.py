"""Pictures as files: what is decoded again is what was drawn, and the bytes are always the same."""

from __future__ import annotations

import numpy as np
import pytest

from service.images import MEDIA_TYPES, Pixels, encode, grid, grid_shape
from service.schemas import ImageFormat
from tests.service.pictures import decode, load


def gradient(height: int = 24, width: int = 17, channels: int = 3) -> Pixels:
    y, x, c = np.indices((height, width, channels))
    pixels: Pixels = (y * 7 + x * 5 + c * 60).astype(np.uint8)
    return pixels


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_every_pixel(channels: int) -> None:
    pixels = gradient(channels=channels)
    assert np.array_equal(decode(encode(pixels, "png")), pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_npy_keeps_every_pixel_and_its_shape(channels: int) -> None:
    pixels = gradient(channels=channels)
    loaded = load(encode(pixels, "npy"))
    assert loaded.dtype == np.uint8
    assert np.array_equal(loaded, pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_lossy_formats_stay_near(form: ImageFormat, channels: int) -> None:
    pixels = np.repeat(gradient(64, 64, 1) // 4, channels, axis=2)
    far = decode(encode(pixels, form)).astype(int).mean(axis=2) - pixels.astype(int).mean(axis=2)
    assert np.abs(far).mean() < 3


def test_jpeg_lays_transparency_on_white() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    assert decode(encode(pixels, "jpeg")).min() == 255


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_quality_changes_the_size(form: ImageFormat) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(encode(pixels, form, 20)) < len(encode(pixels, form, 95))


@pytest.mark.parametrize("form", sorted(MEDIA_TYPES))
def test_the_same_pixels_are_the_same_bytes(form: ImageFormat) -> None:
    pixels = gradient(40, 30)
    views = [pixels, np.flip(np.flip(pixels, 1).copy(), 1), np.asfortranarray(pixels)]
    assert len({encode(view, form) for view in views}) == 1


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (2, 2)), (5, (2, 3)), (64, (8, 8))]
)
def test_a_grid_is_as_square_as_can_be(count: int, shape: tuple[int, int]) -> None:
    assert grid_shape(count) == shape


def test_a_grid_goes_row_by_row_and_ends_white() -> None:
    pictures = np.stack([np.full((2, 3, 1), value, np.uint8) for value in (10, 20, 30)])
    whole = grid(pictures)
    assert whole.shape == (4, 6, 1)
    cells = [whole[:2, :3], whole[:2, 3:], whole[2:, :3], whole[2:, 3:]]
    assert [set(cell.ravel().tolist()) for cell in cells] == [{10}, {20}, {30}, {255}]
