"""Files that people send: every kind and oddity is read right, or refused for what it is."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import InvalidInput, ServiceError, TooLarge, UnsupportedMedia
from service.images import MAX_ASPECT, READABLE, Pixels, UploadedFile

LIMIT = 10_000
LOSSLESS = ["PNG", "BMP", "TIFF"]
ORIENTATION = 0x0112


def gradient(height: int = 24, width: int = 16) -> Pixels:
    """Smooth, so that lossy kinds stay near, and unlike any of its turns."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 9 % 256, x * 15 % 256, (y * 5 + x * 3) % 256], 2).astype(np.uint8)


def file(picture: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def decode(content: bytes, channels: int = 3) -> Pixels:
    pixels = UploadedFile(content, LIMIT).decode(channels).pixels
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == channels
    return pixels


def refusal(content: bytes, channels: int = 3) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        decode(content, channels)
    return caught.value


def chunk(kind: bytes, data: bytes) -> bytes:
    sealed = kind + data
    return struct.pack(">I", len(data)) + sealed + struct.pack(">I", zlib.crc32(sealed))


def png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """A PNG made by hand, whatever it claims."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# --- Kinds. ---


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_kinds_are_read_exactly(kind: str) -> None:
    assert np.array_equal(decode(file(Image.fromarray(gradient()), kind)), gradient())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_kinds_are_read_nearly(kind: str) -> None:
    far = decode(file(Image.fromarray(gradient()), kind)).astype(int) - gradient()
    assert np.abs(far).mean() < 12


def test_lossless_webp_is_read_exactly() -> None:
    content = file(Image.fromarray(gradient()), "WEBP", lossless=True)
    assert np.array_equal(decode(content), gradient())


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiffs_are_read(compression: str) -> None:
    content = file(Image.fromarray(gradient()), "TIFF", compression=compression)
    assert np.array_equal(decode(content), gradient())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_counts(kind: str) -> None:
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    options = {"lossless": True} if kind == "WEBP" else {}
    content = file(first, kind, save_all=True, append_images=[second], **options)
    assert Image.open(io.BytesIO(content)).n_frames == 2  # type: ignore[attr-defined]
    assert np.array_equal(decode(content), np.broadcast_to([255, 0, 0], (10, 20, 3)))


def test_a_digest_is_the_files() -> None:
    one, other = (file(Image.fromarray(gradient()), kind) for kind in ("PNG", "BMP"))
    digests = [UploadedFile(content, LIMIT).decode(3).digest for content in (one, one, other)]
    assert digests[0] == digests[1] != digests[2]


# --- Which way is up. ---


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}], ids=["plain", "lzw"])
def test_pictures_are_turned_as_their_exif_data_says(
    kind: str, orientation: int, options: dict[str, Any]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    options = options if kind == "TIFF" else {}
    found = decode(file(Image.fromarray(gradient()), kind, exif=exif, **lossless, **options))
    upright = {
        1: gradient(),
        2: gradient()[:, ::-1],
        3: gradient()[::-1, ::-1],
        4: gradient()[::-1],
        5: gradient().swapaxes(0, 1),
        6: np.rot90(gradient(), -1),
        7: np.rot90(gradient(), 2).swapaxes(0, 1),
        8: np.rot90(gradient()),
    }[orientation]
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < (12 if kind == "JPEG" else 0.01)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_passed_over(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = file(Image.fromarray(gradient()), "PNG", exif=exif)
    assert np.array_equal(decode(content), gradient())


def test_broken_exif_data_does_not_spoil_a_picture() -> None:
    content = file(Image.fromarray(gradient()), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(decode(content), gradient())


def oddities() -> list[bytes]:
    """A file in every kind of samples, some of them turned."""
    colour = Image.fromarray(gradient())
    exif = Image.Exif()
    exif[ORIENTATION] = 7
    deep = Image.fromarray(gradient()[..., 0].astype(np.uint16) * 250)
    pictures = [colour.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")]
    files = [file(picture, "TIFF" if picture.mode == "CMYK" else "PNG") for picture in pictures]
    return [*files, file(deep, "PNG", exif=exif), file(colour, "PNG", exif=exif)]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_strips_are_the_whole(monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    whole = [decode(content, channels) for content in oddities()]
    monkeypatch.setattr("service.images.decoding.STRIP_PIXELS", 40)
    strips = [decode(content, channels) for content in oddities()]
    assert all(map(np.array_equal, whole, strips))


# --- Colours. ---


def test_grey_becomes_colour_and_colour_grey() -> None:
    grey = gradient()[..., 0]
    assert np.array_equal(decode(file(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, 2))
    luma = gradient() @ np.array([0.299, 0.587, 0.114])
    found = decode(file(Image.fromarray(gradient()), "PNG"), 1)[..., 0]
    assert np.abs(found - luma).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_of_grey_are_scaled_not_cut(kind: str, channels: int) -> None:
    levels = np.linspace(0, 65535, 24 * 16).reshape(24, 16).astype(np.uint16)
    found = decode(file(Image.fromarray(levels), kind), channels)
    assert np.abs(found[..., 0] - levels / 257).max() <= 0.5
    assert channels < 4 or found[..., 3].min() == 255


def test_sixteen_bits_of_colour_are_read() -> None:
    deep = gradient().astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    assert np.array_equal(decode(png(16, 24, depth=16, data=rows)), gradient())


def test_black_and_white_of_one_bit_are_black_and_white() -> None:
    bits = gradient()[..., 0] > 100
    found = decode(file(Image.fromarray(bits), "PNG"), 1)
    assert np.array_equal(found[..., 0], bits * 255)


def test_palettes_are_looked_up() -> None:
    palette = Image.fromarray(gradient()).quantize(16)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(decode(file(palette, kind)), np.asarray(palette.convert("RGB")))


def test_cmyk_is_read() -> None:
    inks = Image.fromarray(gradient()).convert("CMYK")
    assert np.array_equal(decode(file(inks, "TIFF")), gradient())
    far = decode(file(inks, "JPEG", quality=95), 4).astype(int)[..., :3] - gradient()
    assert np.abs(far).mean() < 12


def clear(alpha: int) -> Image.Image:
    """Red, as opaque as said."""
    return Image.new("RGBA", (12, 8), (200, 0, 0, alpha))


@pytest.mark.parametrize(("alpha", "colour"), [(255, (200, 0, 0)), (0, (255, 255, 255))])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_transparency_is_laid_on_white(kind: str, alpha: int, colour: tuple[int, ...]) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode(file(clear(alpha), kind, **options))
    assert np.array_equal(found, np.broadcast_to(colour, (8, 12, 3)))
    grey = decode(file(clear(alpha), kind, **options), 1)
    assert set(grey.ravel()) == ({255} if alpha == 0 else {60})


def test_half_transparency_is_half_white() -> None:
    found = decode(file(clear(128), "PNG"))[0, 0]
    assert np.abs(found.astype(int) - [227, 127, 127]).max() <= 1


def test_a_model_of_four_channels_has_transparency_as_it_is() -> None:
    found = decode(file(clear(77), "PNG"), 4)
    assert found[0, 0].tolist() == [200, 0, 0, 77]
    assert decode(file(Image.fromarray(gradient()), "JPEG"), 4)[..., 3].min() == 255


def test_transparency_beside_grey_palettes_and_colour_keys_counts() -> None:
    grey = Image.new("LA", (12, 8), (0, 0))
    keyed = Image.new("RGB", (12, 8), (1, 2, 3))
    palette = Image.new("P", (12, 8), 1)
    palette.putpalette([9, 9, 9, 200, 0, 0])
    for content in (
        file(grey, "PNG"),
        file(keyed, "PNG", transparency=(1, 2, 3)),
        file(palette, "PNG", transparency=1),
        file(palette, "PNG", transparency=b"\xff\0"),
    ):
        assert decode(content).min() == 255


# --- Refusals. ---


@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.7 a document",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0" * 100,
        b"{}",
        file(Image.new("RGB", (8, 8)), "PPM"),
        file(Image.new("RGB", (8, 8)), "ICO"),
        file(Image.new("RGB", (8, 8)), "TGA"),
    ],
)
def test_what_is_no_picture_of_a_known_kind_tells_the_kinds(content: bytes) -> None:
    error = refusal(content)
    assert isinstance(error, UnsupportedMedia)
    assert all(kind in error.detail for kind in READABLE)
    assert "image/png" in error.extra["supported"]


def test_an_empty_file_says_so() -> None:
    error = refusal(b"")
    assert isinstance(error, InvalidInput)
    assert "is empty" in error.detail


@pytest.mark.parametrize("kind", READABLE)
def test_a_file_that_is_cut_off_says_so(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = file(Image.fromarray(noise), kind)
    for share in (0.1, 0.5, 0.9):
        error = refusal(content[: int(share * len(content))])
        assert isinstance(error, InvalidInput)
        assert "broken or cut off" in error.detail
        assert error.extra["errors"][0]["field"] == "image"


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (0, 0)])
def test_a_picture_without_pixels_is_refused(size: tuple[int, int]) -> None:
    assert isinstance(refusal(png(*size)), InvalidInput)


@pytest.mark.parametrize(
    "size", [(101, 100), (9000, 9000), (12_000, 12_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)]
)
def test_pixels_are_bounded_by_the_header_before_anything_is_decoded(size: tuple[int, int]) -> None:
    error = refusal(png(*size))
    assert isinstance(error, TooLarge)
    assert error.extra["limit_pixels"] == LIMIT
    assert "send a smaller one" in error.detail


def test_a_bomb_of_every_kind_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    bomb = Image.new("L", (101, 100))
    files = [file(bomb, kind) for kind in READABLE]
    monkeypatch.setattr(Image.Image, "load", decoded)
    for content in files:
        with pytest.raises(TooLarge, match="100 x 101 pixels, and the limit is 10000"):
            UploadedFile(content, LIMIT)


def test_data_that_goes_on_after_the_last_row_is_not_unpacked() -> None:
    bomb = png(8, 8, data=bytes(8 * 25) + bytes(50 * 2**20))
    assert decode(bomb).shape == (8, 8, 3)


def tiled(side: int) -> bytes:
    """A TIFF of 16 x 16 pixels in tiles of ``side``; of the first, a few bytes are there."""
    data = zlib.compress(bytes(16 * 16))
    fields = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    where = 8 + 2 + 12 * (len(fields) + 2) + 4
    fields |= {324: where, 325: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4) + data


def test_tiles_are_bounded_too_as_each_is_decoded_whole() -> None:
    assert decode(tiled(16), 1).shape == (16, 16, 1)
    error = refusal(tiled(46_336), 1)  # else 2 GiB for 200 bytes
    assert isinstance(error, TooLarge)
    assert "tiles of 46336 x 46336 pixels" in error.detail


@pytest.mark.parametrize("turned", [False, True])
def test_absurd_shapes_are_refused(turned: bool) -> None:
    for longer, fits in ((4 * MAX_ASPECT, True), (4 * MAX_ASPECT + 1, False)):
        size = (4, longer) if turned else (longer, 4)
        content = file(Image.new("L", size), "PNG")
        if fits:
            assert decode(content, 1).size == 4 * longer
        else:
            assert f"at most {MAX_ASPECT} times" in refusal(content).detail


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_samples_of_other_kinds_are_refused_by_name(mode: str) -> None:
    error = refusal(file(Image.new(mode, (8, 8)), "TIFF"))
    assert isinstance(error, UnsupportedMedia)
    assert f"{mode!r}" in error.detail


FILES = [file(Image.fromarray(gradient()), kind) for kind in READABLE]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.sampled_from(FILES), st.data())
@settings(max_examples=400, deadline=None, derandomize=True)
def test_no_damaged_file_brings_anything_but_a_refusal(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InvalidInput, TooLarge, UnsupportedMedia):
        assert decode(bytes(damaged)).size <= 3 * LIMIT
