"""Colour profiles in uploads: brought to sRGB when they say something, else passed over."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.images import Pixels, UploadedFile
from service.images import colour as colour_module

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def renamed(profile: bytes, *names: tuple[bytes, bytes]) -> bytes:
    """A profile whose tags have other names."""
    for old, new in names:
        profile = profile.replace(old, new)
    return profile


# Red numbers mean green light, and green ones red.
SWAPPED = renamed(SRGB, (b"rXYZ", b"????"), (b"gXYZ", b"rXYZ"), (b"????", b"gXYZ"))


def linear_grey() -> bytes:
    """A profile of grey whose numbers are light: the curve of sRGB with the exponent 1."""
    profile = SRGB[:16] + b"GRAY" + renamed(SRGB[20:], (b"rTRC", b"kTRC"))
    exponent = profile.index(b"para") + 12
    return profile[:exponent] + struct.pack(">I", 2**16) + profile[exponent + 4 :]


def colourful() -> Pixels:
    """Far from grey, and with no transparency."""
    y, x = np.mgrid[:24, :16]
    return np.stack([y * 10, x * 15, np.full_like(x, 90)], 2).astype(np.uint8)


def decode(
    pixels: Pixels,
    profile: bytes,
    channels: int = 3,
    kind: str = "PNG",
    **options: Any,  # noqa: ANN401
) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, icc_profile=profile, **options)
    return UploadedFile(stream.getvalue(), 10_000).decode(channels).pixels


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG", {"quality": 95})],
)
def test_colours_are_brought_to_srgb(kind: str, options: dict[str, Any]) -> None:
    found = decode(colourful(), SWAPPED, kind=kind, **options).astype(int)
    assert np.abs(found - colourful()[..., [1, 0, 2]]).mean() < (8 if kind == "JPEG" else 1)


def test_strips_have_the_colours_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = decode(colourful(), SWAPPED)
    monkeypatch.setattr("service.images.decoding.STRIP_PIXELS", 40)
    assert np.array_equal(decode(colourful(), SWAPPED), whole)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_srgb_by_name_changes_no_pixel(kind: str) -> None:
    assert np.array_equal(decode(colourful(), SRGB, kind=kind), decode(colourful(), b"", kind=kind))


def test_transparency_stays_beside_brought_colours() -> None:
    pixels = np.dstack([colourful(), np.full((24, 16), 77, np.uint8)])
    found = decode(pixels, SWAPPED, 4)
    assert (found[..., 3] == 77).all()
    assert np.abs(found[..., :3].astype(int) - colourful()[..., [1, 0, 2]]).max() <= 2


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_has_profiles_too(channels: int) -> None:
    light = np.full((8, 8), 100, np.uint8)
    found = decode(light, linear_grey(), channels)
    level = 255 * (1.055 * (100 / 255) ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    assert np.abs(found[..., 0] - level).max() < 8  # the curve's linear part was left as it is
    assert channels < 4 or found[..., 3].min() == 255
    clear = np.dstack([light, np.full((8, 8), 77, np.uint8)])
    assert channels < 4 or decode(clear, linear_grey(), 4)[0, 0].tolist() == [*found[0, 0, :3], 77]


@pytest.mark.parametrize(
    "profile",
    [b"no profile", SWAPPED[:200], SWAPPED[:-60], bytes(588), SWAPPED.replace(b"XYZ ", b"ZYX ")],
    ids=["junk", "head", "cut", "zeros", "types"],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_broken_profile_is_passed_over(profile: bytes, kind: str) -> None:
    plain = decode(colourful(), b"", kind=kind)
    assert np.array_equal(decode(colourful(), profile, kind=kind), plain)


def test_a_profile_of_other_numbers_is_passed_over() -> None:
    assert np.array_equal(decode(colourful(), linear_grey()), colourful())
    assert np.array_equal(decode(colourful()[..., 0], SWAPPED, 1), colourful()[..., :1])


def test_a_profile_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colour_module, "MAX_PROFILE_BYTES", len(SWAPPED) - 1)
    assert np.array_equal(decode(colourful(), SWAPPED), colourful())
