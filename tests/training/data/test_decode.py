"""One picture of any kind to a square of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from PIL.ImageFile import ImageFile

from tests.training.data import odd
from tests.training.data.odd import BLUE, GREEN, RED, encoded
from training.data import decode as decoding
from training.data.dataset import Images
from training.data.decode import Undecodable, decode, squared, with_channels
from training.data.progress import silent


def quarters() -> Image.Image:
    """Upper left red, upper right green, lower left blue, lower right black."""
    image = Image.new("RGB", (16, 16))
    image.paste(RED, (0, 0, 8, 8))
    image.paste(GREEN, (8, 0, 16, 8))
    image.paste(BLUE, (0, 8, 8, 16))
    return image


@pytest.mark.parametrize("name", odd.odd_pictures())
def test_every_kind_of_picture_becomes_rgb(name: str) -> None:
    pixels = decode(odd.odd_pictures()[name], 8)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("name", odd.broken_pictures())
def test_a_broken_picture_says_why(name: str) -> None:
    with pytest.raises(Undecodable, match=r".+"):
        decode(odd.broken_pictures()[name], 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [("one.png", 255), ("sixteen.png", 90), ("sixteen.pgm", 90), ("sixteen.TIFF", 90)],
)
def test_grey_of_any_depth_keeps_its_level(name: str, value: int) -> None:
    assert (decode(odd.odd_pictures()[name], 8) == value).all()


def test_transparency_is_composited_on_white() -> None:
    pictures = odd.odd_pictures()
    assert (decode(pictures["rgba.webp"], 8) == 255).all()
    half = decode(pictures["grey-alpha.png"], 8).astype(int)
    assert abs(half - (90 + 255) / 2).max() <= 1
    holed = decode(pictures["palette.png"], 20)
    assert (holed[:10] == 255).all()
    assert (holed[10:] == BLUE).all()


def test_an_animation_gives_its_first_frame() -> None:
    assert (decode(odd.animation(), 8) == GREEN).all()


def test_cmyk_keeps_its_hue() -> None:
    red, green, blue = decode(odd.odd_pictures()["cmyk.jpeg"], 8)[4, 4].astype(int)
    assert red > 200
    assert max(green, blue) < 80


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation: int) -> None:
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    stored = quarters()
    if inverse in decoding.UPRIGHT:
        stored = stored.transpose(decoding.UPRIGHT[inverse])
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode(encoded(stored, exif=exif), 16), np.asarray(quarters()))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # load() silences Pillow, see pixels.py
def test_broken_exif_does_not_spoil_a_picture() -> None:
    content = encoded(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert decode(content, 16).shape == (16, 16, 3)


def test_the_crop_is_the_centre() -> None:
    wide = Image.new("RGB", (40, 10), RED)
    wide.paste(GREEN, (15, 0, 25, 10))
    assert (decode(encoded(wide), 10) == GREEN).all()
    assert (decode(encoded(wide.transpose(Image.Transpose.ROTATE_90)), 10) == GREEN).all()


def test_shrinking_is_antialiased() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    pixels = decode(encoded(Image.fromarray(board.astype(np.uint8))), 8).astype(int)
    assert abs(pixels - 127).max() <= 8


def test_a_large_jpeg_decoded_small_is_close_to_the_full_path() -> None:
    y, x = np.mgrid[0:512, 0:512]
    smooth = np.stack([x / 2, y / 2, (x + y) / 4], -1).astype(np.uint8)
    content = encoded(Image.fromarray(smooth), "JPEG", quality=95)
    full = Image.fromarray(smooth).resize((16, 16), Image.Resampling.LANCZOS)
    assert abs(decode(content, 16).astype(int) - np.asarray(full).astype(int)).max() <= 6


def test_too_many_pixels_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 399)
    monkeypatch.setattr(ImageFile, "load", None)
    with pytest.raises(Undecodable, match="20 x 20"):
        decode(odd.plain(), 8)


def test_32_bit_pixels_are_refused_not_guessed() -> None:
    deep = Image.fromarray(np.full((9, 9), 70_000, np.int32))
    with pytest.raises(Undecodable, match="range is unknown"):
        decode(encoded(deep, "TIFF"), 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_take_the_same_path_as_files(channels: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2, 40, 30, channels), dtype=np.uint8)
    rows = squared(noise, 12, silent)
    assert rows.shape == (2, 12, 12, channels)
    for row, image in zip(rows, noise, strict=True):
        picture = Image.fromarray(image if channels == 3 else image[:, :, 0])
        assert np.array_equal(with_channels(row, 3), decode(encoded(picture), 12))


def test_channels_repeat_grey_and_weigh_colour() -> None:
    colours: Images = np.array([[[[*RED], [*GREEN], [255, 255, 255]]]], np.uint8)
    by_pillow = np.asarray(Image.fromarray(colours[0]).convert("L"))
    assert np.array_equal(with_channels(colours, 1)[0, :, :, 0], by_pillow)
    assert (with_channels(by_pillow[None, ..., None], 3) == by_pillow[None, ..., None]).all()
