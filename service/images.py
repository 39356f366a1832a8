"""Pictures to files, and files to pictures: the only file that knows an image codec.

The same pixels give the same bytes. PNG is written by ``service.png``, all else by Pillow. Every
codec here releases the interpreter lock while it works, so several pictures can be encoded, or
decoded, in threads.

What somebody sends is bounded by its header before a pixel of it is decoded.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from service import png
from service.errors import InvalidInput, ServiceError, TooLarge, UnsupportedMedia
from service.fields import FieldErrors
from service.schemas import ImageFormat

Pixels = png.Pixels

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

READABLE = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MAX_ASPECT = 32  # of an upload's longer side to its shorter: beyond, a side would all but vanish

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Seconds for a file and for each pixel in it, as measured on a server's core (AMD EPYC).
_COST_S: dict[ImageFormat, tuple[float, float]] = {
    "png": (15e-6, 10e-9),
    "jpeg": (30e-6, 8e-9),
    "webp": (70e-6, 200e-9),
    "npy": (10e-6, 0.5e-9),
}
_SIGNATURES = re.compile(
    rb"\x89PNG|\xff\xd8\xff|RIFF....WEBP|BM....\0{4}|II[*+]\0|MM\0[*+]|GIF8", re.DOTALL
)
_READABLE_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
Image.init()  # every plug-in now, rather than on the event loop with the first WebP that comes
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF 6.0, section 15
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
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
    _picture(pixels, opaque=form == "jpeg").save(stream, form, quality=quality)
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
        return _on_white(picture)
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


# --- What somebody sends. ---


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded upload: uint8 [H, W, C], upright; ``digest`` is the SHA-256 of its file."""

    pixels: Pixels
    digest: str


class UploadedFile:
    """A picture's file of which only the header was read: a kind that is read here, and bounded.

    Args:
        file: PNG, JPEG, WebP, BMP, TIFF or GIF, by its content, whatever anybody says of it.
        limit_pixels: the most that it may have.

    Raises:
        UnsupportedMedia: it is not such a file.
        TooLarge: it has more pixels.
        InvalidInput: it is empty, broken, or absurdly narrow.
    """

    def __init__(self, file: bytes, limit_pixels: int) -> None:
        self._file = file
        if not file:
            raise _wrong("is empty: send the bytes of a picture's file")
        try:
            self._image = Image.open(io.BytesIO(file), formats=READABLE)
            tile = _tile(self._image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise _too_large(f"more than {limit_pixels}", limit_pixels) from None
        except Exception:  # Pillow raises whatever its parsers stumble on
            raise _unreadable(file) from None
        width, height = self._image.size
        self.pixels = height * width
        if self.pixels > limit_pixels:
            raise _too_large(f"{height} x {width}", limit_pixels)
        if tile[0] * tile[1] > limit_pixels:
            raise _too_large(f"tiles of {tile[0]} x {tile[1]}", limit_pixels)
        if self.pixels < 1:
            raise _wrong(f"has no pixels ({height} x {width}): send another picture")
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise _wrong(
                f"is {height} x {width} pixels (height x width): the longer side may be at most "
                f"{MAX_ASPECT} times the shorter; cut it"
            )

    def decode(self, channels: int) -> Picture:
        """The first frame, turned as its EXIF data says.

        Args:
            channels: 1, 3, or 4; unless 4, what is transparent is laid on white.

        Raises:
            InvalidInput: the file is broken or cut off.
            UnsupportedMedia: its samples are of a kind that is not read here.
        """
        try:
            self._image.load()
            pixels = _in_channels(_upright(self._image), channels)
        except ServiceError:
            raise
        except Exception:  # as above
            raise _broken() from None
        return Picture(pixels, hashlib.sha256(self._file).hexdigest())


def resize(pixels: Pixels, box: tuple[float, float, float, float], size: tuple[int, int]) -> Pixels:
    """A part of a picture at another size, antialiased (Lanczos).

    Args:
        pixels: uint8 [H, W, C].
        box: left, top, right and bottom of the part.
        size: height and width of the result.
    """
    picture = _picture(pixels, opaque=False)
    return _array(picture.resize(size[::-1], Image.Resampling.LANCZOS, box))


def _tile(picture: Image.Image) -> tuple[int, int]:
    """Height and width of a TIFF's tiles; each is decoded whole, however small the picture."""
    if not isinstance(picture, TiffImageFile):
        return 0, 0
    tags = picture.tag_v2
    return int(tags.get(_TILE_LENGTH, 0)), int(tags.get(_TILE_WIDTH, 0))


def _upright(picture: Image.Image) -> Image.Image:
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken metadata beside good pixels
        return picture
    return picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture


def _in_channels(picture: Image.Image, channels: int) -> Pixels:
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.uint32)
        picture = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    if picture.mode not in _READABLE_MODES:
        raise UnsupportedMedia(
            f"image: its samples are {picture.mode!r} (Pillow's name), which are not read here: "
            "save it as grey or RGB with 8 or 16 bits"
        )
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if channels != 4:
            picture = _on_white(picture)
    return _array(picture.convert(_MODES[channels]))


def _on_white(picture: Image.Image) -> Image.Image:
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _array(picture: Image.Image) -> Pixels:
    """uint8 [H, W, C]."""
    return np.atleast_3d(np.asarray(picture, np.uint8))


def _unreadable(file: bytes) -> ServiceError:
    if _SIGNATURES.match(file):
        return _broken()
    kinds = ", ".join(READABLE)
    return UnsupportedMedia(
        f"image: this is no picture of a kind that is read here: send one of {kinds}",
        supported=[Image.MIME[kind] for kind in READABLE],
    )


def _too_large(found: str, limit_pixels: int) -> TooLarge:
    return TooLarge(
        f"image: it has {found} pixels, and the limit is {limit_pixels}: send a smaller one",
        limit_pixels=limit_pixels,
    )


def _broken() -> InvalidInput:
    return _wrong("is broken or cut off: send the whole file again")


def _wrong(detail: str) -> InvalidInput:
    errors = FieldErrors()
    errors.add("image", detail)
    return errors.error()
