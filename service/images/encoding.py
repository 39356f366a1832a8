"""Pictures to files. The same pixels give the same bytes, but for what ``service.png`` says.

PNG is written by it, all else by Pillow.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from service import png
from service.images.pillow import Pixels, on_white, picture_of
from service.schemas import ImageFormat

MEDIA_TYPES: dict[ImageFormat, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npy": "application/x-npy",
}
MAX_SIDE: dict[ImageFormat, int] = {"png": 2**31 - 1, "jpeg": 65_500, "webp": 16_383}
LOSSY: frozenset[ImageFormat] = frozenset({"jpeg", "webp"})
DEFAULT_QUALITY = 90
CODEC = f"pillow-{PIL.__version__} {png.CODEC}"  # part of an ETag: another may write other bytes

# Seconds for a file and for each pixel in it, as measured on a server's core (AMD EPYC).
_COST_S: dict[ImageFormat, tuple[float, float]] = {
    "png": (15e-6, 10e-9),
    "jpeg": (30e-6, 8e-9),
    "webp": (70e-6, 200e-9),
    "npy": (10e-6, 0.5e-9),
}


def encode(pixels: Pixels, form: ImageFormat, quality: int = DEFAULT_QUALITY) -> bytes:
    """One picture as a file.

    Args:
        pixels: uint8 [H, W, C], C is 1, 3 or 4; for npy any shape.
        form: of the file. JPEG has no transparency: such pictures are laid on white.
        quality: 1 to 100, for jpeg and webp.
    """
    if form == "png":
        return png.encode(pixels)
    if form == "npy":
        return npy(pixels)
    stream = io.BytesIO()
    picture = picture_of(pixels)
    if form == "jpeg" and picture.mode == "RGBA":
        picture = on_white(picture)
    picture.save(stream, form, quality=quality)
    return stream.getvalue()


def encode_all(pictures: Pixels, form: ImageFormat, quality: int = DEFAULT_QUALITY) -> list[bytes]:
    """Each picture of [N, H, W, C] as a file, the same as by ``encode``."""
    if form == "png":
        return png.encode_all(pictures)
    return [encode(picture, form, quality) for picture in pictures]


def npy(array: NDArray[Any]) -> bytes:
    """An array as an npy file."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


def estimate_s(form: ImageFormat, files: int, pixels: int) -> float:
    """About how long ``files`` files of ``pixels`` pixels together will take to encode."""
    file_s, pixel_s = _COST_S[form]
    return files * file_s + pixels * pixel_s


def grid_shape(count: int) -> tuple[int, int]:
    """Rows and columns of a grid: as square as can be, wider than high."""
    columns = math.ceil(math.sqrt(count))
    return math.ceil(count / columns), columns


def grid(pictures: Pixels) -> Pixels:
    """Several pictures as one, row by row, without gaps; cells left over are white.

    Args:
        pictures: uint8 [N, H, W, C].

    Returns:
        uint8 [rows * H, columns * W, C].
    """
    count, height, width, channels = pictures.shape
    rows, columns = grid_shape(count)
    cells = np.full((rows * columns, height, width, channels), 255, np.uint8)
    cells[:count] = pictures
    lines = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return lines.reshape(rows * height, columns * width, channels)
