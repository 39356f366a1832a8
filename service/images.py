"""Pictures to files: the only file that knows an image codec. The same pixels give the same bytes.

Every codec here releases the interpreter lock while it works, so several pictures can be encoded
in threads.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from service.schemas import ImageFormat

Pixels = NDArray[np.uint8]

MEDIA_TYPES: dict[ImageFormat, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npy": "application/x-npy",
}
MAX_SIDE: dict[ImageFormat, int] = {"png": 2**31 - 1, "jpeg": 65_500, "webp": 16_383}
LOSSY: frozenset[ImageFormat] = frozenset({"jpeg", "webp"})
DEFAULT_QUALITY = 90
CODEC = f"pillow-{PIL.__version__}"  # part of an ETag: another codec may write other bytes

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def encode(pixels: Pixels, form: ImageFormat, quality: int = DEFAULT_QUALITY) -> bytes:
    """One picture as a file.

    Args:
        pixels: uint8 [H, W, C], C is 1, 3 or 4; for npy any shape.
        form: of the file. JPEG has no transparency: such pictures are laid on white.
        quality: 1 to 100, for jpeg and webp.
    """
    stream = io.BytesIO()
    if form == "npy":
        np.lib.format.write_array(stream, np.ascontiguousarray(pixels), allow_pickle=False)
        return stream.getvalue()
    options: dict[str, Any] = {"quality": quality} if form in LOSSY else {"compress_level": 1}
    _picture(pixels, opaque=form == "jpeg").save(stream, form, **options)
    return stream.getvalue()


def _picture(pixels: Pixels, *, opaque: bool) -> Image.Image:
    channels = pixels.shape[-1]
    flat = pixels[..., 0] if channels == 1 else pixels
    picture = Image.frombuffer(
        _MODES[channels],
        (pixels.shape[1], pixels.shape[0]),
        np.ascontiguousarray(flat),
        "raw",
        _MODES[channels],
        0,
        1,
    )
    if opaque and channels == 4:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture


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
