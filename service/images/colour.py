"""Colour profiles: what a file's numbers mean, brought to sRGB, in which models think."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from service.images.pillow import pixels_of

MAX_PROFILE_BYTES = 4 * 2**20  # those of printing presses have about 2 MiB
UNSEEN_LEVELS = 1  # sRGB by another name moves colours by no more, which is not worth its time

# ICC.1:2022, section 7.2.8: the kinds of numbers that a profile explains, by Pillow's modes.
_SPACES = {"L": "GRAY", "LA": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
_STEPS = np.linspace(0, 255, 9).astype(np.uint8)


class ToSrgb:
    """Brings pictures of one file to sRGB, by the profile in it.

    Args:
        profile: an ICC profile; what is broken, too large or for other numbers changes nothing.
        mode: of the pictures: L, LA, RGB, RGBA or CMYK.
    """

    def __init__(self, profile: bytes | None, mode: str) -> None:
        self._transform = _transform(profile, mode) if profile else None

    def __call__(self, picture: Image.Image) -> Image.Image:
        """RGB or RGBA if the profile says something, else the picture itself."""
        if self._transform is None:
            return picture
        if picture.mode != "LA":
            return self._apply(picture)
        grey, alpha = picture.split()
        coloured = self._apply(grey)
        coloured.putalpha(alpha)
        return coloured

    def _apply(self, picture: Image.Image) -> Image.Image:
        assert self._transform is not None
        coloured = ImageCms.applyTransform(picture, self._transform)
        assert coloured is not None  # it is None only when done in place
        return coloured


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    if len(profile) > MAX_PROFILE_BYTES or mode not in _SPACES:
        return None
    mode = "L" if mode == "LA" else mode
    try:
        meant = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if meant.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            meant,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGBA" if mode == "RGBA" else "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform
    except Exception:  # broken metadata beside good pixels
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether the colours of a coarse lattice stay where they are."""
    levels = np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), -1).reshape(len(_STEPS), -1, 3)
    lattice = Image.fromarray(levels[..., 0] if mode == "L" else levels).convert(mode)
    moved = ImageCms.applyTransform(lattice, transform)
    assert moved is not None
    before, after = (pixels_of(each.convert("RGB")).astype(np.int16) for each in (lattice, moved))
    return bool(np.abs(after - before).max() <= UNSEEN_LEVELS)
