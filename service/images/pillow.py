"""Between arrays and Pillow's pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image

from service import png

Pixels = png.Pixels

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels


def picture_of(pixels: Pixels) -> Image.Image:
    """uint8 [H, W, C] as Pillow has it."""
    height, width, channels = pixels.shape
    flat = np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels)
    mode = MODES[channels]
    return Image.frombuffer(mode, (width, height), flat, "raw", mode, 0, 1)


def pixels_of(picture: Image.Image) -> Pixels:
    """uint8 [H, W, C] of a picture in one of ``MODES``."""
    return np.atleast_3d(np.asarray(picture, np.uint8))


def on_white(picture: Image.Image) -> Image.Image:
    """RGBA laid on white: RGB."""
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def resize(pixels: Pixels, box: tuple[float, float, float, float], size: tuple[int, int]) -> Pixels:
    """A part of a picture at another size, antialiased (Lanczos).

    Args:
        pixels: uint8 [H, W, C].
        box: left, top, right and bottom of the part.
        size: height and width of the result.
    """
    resized = picture_of(pixels).resize(size[::-1], Image.Resampling.LANCZOS, box)
    return pixels_of(resized)
