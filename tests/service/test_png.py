"""PNG of our own: read by two decoders, small enough, and always the same bytes."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from service import images, png
from service.png import Deflate, Pixels
from tests.service.pictures import decode
from training.config import load_preset
from training.data import load
from training.recipe import Shape
from training.recipes import SYSTEMS

DEFLATES = sorted({png.DEFLATE, png.ZLIB}, key=lambda deflate: deflate.name)
LARGEST = 1.10  # of Pillow's size at its level 1
CHANNELS = (1, 3, 4)

each_deflate = pytest.mark.parametrize("deflate", DEFLATES, ids=lambda deflate: deflate.name)


def chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    """The kind and the content of each chunk, their checksums checked."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(file):
        length, kind = struct.unpack_from(">I4s", file, at)
        content = file[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", file, at + 8 + length) == (zlib.crc32(kind + content),)
        found.append((kind, content))
        at += 12 + length
    return found


def decode_by_the_book(file: bytes) -> Pixels:
    """A picture by the PNG specification, sections 9.2 (filters) and 11.2 (chunks).

    It knows the filters none, sub and up, and 8 bits a channel.
    """
    (first, head), (second, data), last = chunks(file)
    assert (first, second, last) == (b"IHDR", b"IDAT", (b"IEND", b""))
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", head)
    assert (depth, compression, filters, interlace) == (8, 0, 0, 0)
    channels = {0: 1, 2: 3, 6: 4}[colour]
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * channels)
    pixels = np.zeros((height, width, channels), np.uint8)
    for y, line in enumerate(lines):
        rest = line[1:].reshape(width, channels)
        if line[0] == 1:
            rest = np.cumsum(rest, axis=0, dtype=np.uint8)
        elif line[0] == 2:
            rest = rest + (pixels[y - 1] if y else 0)
        else:
            assert line[0] == 0
        pixels[y] = rest
    return pixels


def assert_exact(pixels: Pixels, deflate: Deflate) -> None:
    file = png.encode(pixels, deflate)
    channels = pixels.shape[2]
    picture = Image.open(io.BytesIO(file))
    picture.verify()
    assert (picture.format, picture.mode) == ("PNG", {1: "L", 3: "RGB", 4: "RGBA"}[channels])
    assert np.array_equal(decode(file).reshape(pixels.shape), pixels)
    assert np.array_equal(decode_by_the_book(file), pixels)


# --- Exact. ---


@each_deflate
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 2), (2, 1), (1, 300), (300, 1), (7, 13), (28, 28), (129, 65)]
)
def test_noise_keeps_every_pixel(height: int, width: int, channels: int, deflate: Deflate) -> None:
    chance = np.random.default_rng(height * 1000 + width)
    assert_exact(chance.integers(0, 256, (height, width, channels), np.uint8), deflate)


@each_deflate
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("value", [0, 1, 255])
def test_one_colour_keeps_every_pixel(value: int, channels: int, deflate: Deflate) -> None:
    assert_exact(np.full((40, 31, channels), value, np.uint8), deflate)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from(CHANNELS)),
    levels=st.integers(1, 256),
    seed=st.integers(0, 2**32),
)
def test_any_picture_keeps_every_pixel(shape: tuple[int, int, int], levels: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, levels, shape).astype(np.uint8)
    for deflate in DEFLATES:
        assert_exact(pixels, deflate)


@each_deflate
def test_photographs_keep_every_pixel(deflate: Deflate) -> None:
    for photograph in photographs():
        assert_exact(photograph, deflate)


@each_deflate
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("side", [9, 200])
def test_a_picture_among_others_is_as_it_is_alone(
    side: int, channels: int, deflate: Deflate
) -> None:
    pictures = np.random.default_rng(0).integers(0, 3, (5, side, side, channels), np.uint8)
    files = png.encode_all(pictures, deflate)
    assert files == [png.encode(picture, deflate) for picture in pictures]
    for picture, file in zip(pictures, files, strict=True):
        assert np.array_equal(decode(file).reshape(picture.shape), picture)


def test_each_row_has_the_filter_that_suits_it() -> None:
    flat, steps, noise = np.zeros(64), np.arange(64) * 3, np.arange(64) * 37 % 251
    pixels = np.stack([flat, noise, noise, steps, flat]).astype(np.uint8)[..., None]
    (_, _), (_, data), _ = chunks(png.encode(pixels))
    filters = np.frombuffer(zlib.decompress(data), np.uint8).reshape(5, 65)[:, 0]
    assert filters[[0, 2, 3, 4]].tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize("channels", CHANNELS)
def test_views_keep_every_pixel(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, channels), np.uint8)
    for view in (pixels[::2, ::-3], pixels.swapaxes(0, 1), np.asfortranarray(pixels)):
        assert_exact(view, png.DEFLATE)


# --- Together. ---


def a_batch(*shape: int, seed: int = 0) -> Pixels:
    """Pictures that nobody may write to."""
    batch = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    batch.flags.writeable = False
    return batch


@pytest.fixture
def filtered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures were filtered, each time that some were."""
    counts: list[int] = []
    filter_here = png._filtered

    def counted(pictures: Pixels) -> Pixels:
        counts.append(len(pictures))
        return filter_here(pictures)

    monkeypatch.setattr(png, "_filtered", counted)
    return counts


@each_deflate
@pytest.mark.parametrize("channels", CHANNELS)
def test_pictures_of_a_batch_are_as_they_are_apart(channels: int, deflate: Deflate) -> None:
    batch = a_batch(7, 9, 8, channels)
    for start, end in ((3, 5), (0, 1), (5, 7), (6, 7), (0, 7), (2, 6)):
        some = batch[start:end]
        assert png.encode_all(some, deflate) == png.encode_all(some.copy(), deflate)


def test_a_batch_is_filtered_once_for_all_its_pictures(filtered: list[int]) -> None:
    batch = a_batch(6, 9, 8, 3)
    for start in (2, 0, 4):
        png.encode_all(batch[start : start + 2])
    assert filtered == [6]


def test_large_batches_are_filtered_as_they_are_asked_for(
    filtered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = a_batch(6, 9, 8, 3)
    for limit in (batch.nbytes - 1, batch.nbytes):
        monkeypatch.setattr(png, "SHARED_BYTES", limit)
        for start in (2, 4):
            png.encode_all(batch[start : start + 2])
    assert filtered == [2, 2, 6]


def test_batches_in_turn_keep_their_own_pictures() -> None:
    batches = [a_batch(4, 9, 8, 3, seed=seed) for seed in range(2)]
    for start in range(4):
        for batch in batches:
            some = batch[start : start + 1]
            assert png.encode_all(some) == png.encode_all(some.copy())


def test_a_batch_in_the_memory_of_an_earlier_one_keeps_its_own_pictures() -> None:
    for seed in range(8):  # each is gone before the next is made
        some = a_batch(4, 9, 8, 3, seed=seed)[1:3]
        assert png.encode_all(some) == png.encode_all(some.copy())
        del some


@pytest.mark.parametrize("writeable", [True, False])
def test_what_may_still_change_is_looked_at_each_time(writeable: bool) -> None:
    batch = a_batch(4, 9, 8, 3).copy()
    some = batch[1:3]
    some.flags.writeable = writeable  # a view that may not be written to does not keep its batch
    before = png.encode_all(some)
    batch += 1
    after = png.encode_all(some)
    assert [decode(file).tolist() for file in after] == some.tolist()
    assert before != after


@pytest.mark.parametrize(
    "cut",
    [
        lambda batch: batch[::-1],
        lambda batch: batch[1::2],
        lambda batch: batch[:, ::-1],
        lambda batch: batch[:, :, ::-1],
        lambda batch: batch[:, 2:6],
        lambda batch: batch[..., :1],
        lambda batch: batch.swapaxes(1, 2),
    ],
    ids=["backwards", "every other", "flipped", "mirrored", "cropped", "one channel", "turned"],
)
def test_other_views_of_a_batch_are_as_they_are_apart(cut: Callable[[Pixels], Pixels]) -> None:
    batch = a_batch(4, 9, 9, 3)
    png.encode_all(batch[:1])
    assert png.encode_all(cut(batch)) == png.encode_all(cut(batch).copy())


def test_a_view_that_starts_inside_a_picture_is_as_it_is_apart() -> None:
    batch = a_batch(4, 3, 3, 3)
    inside = batch.reshape(-1)[9:63].reshape(2, 3, 3, 3)
    png.encode_all(batch[:1])
    assert png.encode_all(inside) == png.encode_all(inside.copy())


def test_a_view_of_other_numbers_is_as_it_is_apart() -> None:
    batch = np.random.default_rng(0).integers(-128, 128, (4, 9, 8, 3), np.int8)
    batch.flags.writeable = False
    some = batch.view(np.uint8)[1:3]
    assert some.base is batch
    assert png.encode_all(some) == png.encode_all(some.copy())


def test_a_batch_of_one_picture_is_as_it_is_apart() -> None:
    batch = a_batch(1, 9, 8, 3)
    for some in (batch, batch[:1], batch[0][None]):
        assert png.encode_all(some) == png.encode_all(batch.copy())


# --- Small enough. ---


def photographs() -> list[Pixels]:
    found: list[Pixels] = load_sample_images().images
    return found


def clothes() -> list[Pixels]:
    """Real pictures of Fashion-MNIST, 28x28 in grey."""
    return list(load("fashion-mnist-subset", split="test").images[:64])


def untrained(side: int, base_channels: int) -> list[Pixels]:
    """What an untrained DCGAN makes in colour (Radford et al. 2016)."""
    recipe = [
        "recipe.upsampling=transposed",
        "recipe.latent=100",
        f"recipe.base_channels={base_channels}",
    ]
    config = load_preset("dcgan-fashion-fast", [*recipe, f"data.size={side}", "data.channels=3"])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        [stage] = SYSTEMS["dcgan"].stages(config.recipe, Shape(3, side))
        floats = stage.eval().generator(torch.randn(16, 100))
    pixels = ((floats + 1) * 127.5).round().to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).contiguous().numpy())


def by_pillow(pixels: Pixels) -> int:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(stream, "png", compress_level=1)
    return stream.tell()


@each_deflate
@pytest.mark.parametrize(
    "pictures",
    [photographs, clothes, partial(untrained, 32, 32), partial(untrained, 64, 64)],
    ids=["photographs", "28x28", "32x32", "64x64"],
)
def test_a_file_is_hardly_larger_than_by_pillow(
    pictures: Callable[[], list[Pixels]], deflate: Deflate
) -> None:
    ratios = [len(png.encode(each, deflate)) / by_pillow(each) for each in pictures()]
    assert max(ratios) <= LARGEST, (np.mean(ratios), max(ratios))


# --- The same bytes. ---


@each_deflate
def test_the_same_pixels_are_the_same_bytes(deflate: Deflate) -> None:
    photograph, _ = photographs()
    views = [photograph, np.flip(np.flip(photograph, 1).copy(), 1), np.asfortranarray(photograph)]
    assert len({png.encode(view, deflate) for view in views}) == 1


@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng compresses otherwise")
def test_bytes_by_zlib_change_only_when_a_release_says_so() -> None:
    y, x, c = np.indices((3, 5, 3))
    pixels = (y * 40 + x * 9 + c * 100).astype(np.uint8)
    assert png.encode(pixels, png.ZLIB).hex() == (
        "89504e470d0a1a0a0000000d4948445200000005000000030802000000d45452af0000001b494441"
        "54780163644839c1890418357a3e2071391903b64820f301925a0534b98d25040000000049454e44"
        "ae426082"
    )


def test_zlib_stands_in_where_isa_l_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    assert png.quickest() is png.ZLIB


def test_the_codec_names_the_compressor() -> None:
    assert png.DEFLATE.name in png.CODEC
    assert png.CODEC in images.CODEC
    assert len({deflate.name for deflate in DEFLATES}) == len(DEFLATES)
