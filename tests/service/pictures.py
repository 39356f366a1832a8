"""Files back to pixels, for the tests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from service.images import Pixels


def decode(file: bytes) -> Pixels:
    """uint8 [H, W, C] of an image file."""
    pixels: Pixels = np.asarray(Image.open(io.BytesIO(file)))
    return np.atleast_3d(pixels)


def load(file: bytes) -> Pixels:
    """The array of an npy file."""
    array: Pixels = np.load(io.BytesIO(file), allow_pickle=False)
    return array
