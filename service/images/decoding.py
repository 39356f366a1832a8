"""A file that somebody sends, to pixels: bounded by its header before a pixel of it is decoded.

Pillow's picture is taken over in strips, so that beside it and the result nothing has its size:
neither a picture in another mode, nor one that is turned.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from service.errors import InvalidInput, ServiceError, TooLarge, UnsupportedMedia
from service.fields import FieldErrors
from service.images.colour import ToSrgb
from service.images.pillow import MODES, Pixels, on_white, pixels_of

READABLE = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MAX_ASPECT = 32  # of an upload's longer side to its shorter: beyond, a side would all but vanish
STRIP_PIXELS = 2**18  # taken over at a time

_SIGNATURES = re.compile(
    rb"\x89PNG|\xff\xd8\xff|RIFF....WEBP|BM....\0{4}|II[*+]\0|MM\0[*+]|GIF8", re.DOTALL
)
_READABLE_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
Image.init()  # every plug-in now, rather than on the event loop with the first WebP that comes
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF 6.0, section 15
# By EXIF's number: whether the sides are swapped, and the steps along the file's rows and columns.
_TURNS = {
    1: (False, 1, 1),
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, -1, 1),
    7: (True, -1, -1),
    8: (True, 1, -1),
}


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
        field: that it came in, as errors name it.

    Raises:
        UnsupportedMedia: it is not such a file.
        TooLarge: it has more pixels.
        InvalidInput: it is empty, broken, or absurdly narrow.
    """

    def __init__(self, file: bytes, limit_pixels: int, field: str = "image") -> None:
        self._file, self._field = file, field
        if not file:
            raise self._wrong("is empty: send the bytes of a picture's file")
        try:
            self._image = Image.open(io.BytesIO(file), formats=READABLE)
            tile = _tile(self._image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise self._too_large(f"more than {limit_pixels}", limit_pixels) from None
        except Exception:  # Pillow raises whatever its parsers stumble on
            raise self._unreadable() from None
        width, height = self._image.size
        self.height, self.width, self.pixels = height, width, height * width  # not turned yet
        if self.pixels > limit_pixels:
            raise self._too_large(f"{height} x {width}", limit_pixels)
        if tile[0] * tile[1] > limit_pixels:
            raise self._too_large(f"tiles of {tile[0]} x {tile[1]}", limit_pixels)
        if self.pixels < 1:
            raise self._wrong(f"has no pixels ({height} x {width}): send another picture")
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise self._wrong(
                f"is {height} x {width} pixels (height x width): the longer side may be at most "
                f"{MAX_ASPECT} times the shorter; cut it"
            )

    @property
    def has_profile(self) -> bool:
        """Whether a colour profile is in it, which takes milliseconds to read."""
        return "icc_profile" in self._image.info

    def decode(self, channels: int) -> Picture:
        """The first frame, in sRGB, turned as its EXIF data says. Call it once.

        Args:
            channels: 1, 3, or 4; unless 4, what is transparent is laid on white.

        Raises:
            InvalidInput: the file is broken or cut off.
            UnsupportedMedia: its samples are of a kind that is not read here.
        """
        try:
            self._image.load()
            self._require_readable_samples()
            pixels = _upright(self._image, channels)
        except ServiceError:
            raise
        except Exception:  # as above
            raise self._broken() from None
        finally:
            self._image.close()
        return Picture(pixels, hashlib.sha256(self._file).hexdigest())

    def _require_readable_samples(self) -> None:
        mode = self._image.mode
        if not mode.startswith("I;16") and mode not in _READABLE_MODES:
            raise UnsupportedMedia(
                f"{self._field}: its samples are {mode!r} (Pillow's name), which are not read "
                "here: save it as grey or RGB with 8 or 16 bits"
            )

    def _unreadable(self) -> ServiceError:
        if _SIGNATURES.match(self._file):
            return self._broken()
        kinds = ", ".join(READABLE)
        return UnsupportedMedia(
            f"{self._field}: this is no picture of a kind that is read here: send one of {kinds}",
            supported=[Image.MIME[kind] for kind in READABLE],
        )

    def _too_large(self, found: str, limit_pixels: int) -> TooLarge:
        return TooLarge(
            f"{self._field}: it has {found} pixels, and the limit is {limit_pixels}: send a "
            "smaller one",
            limit_pixels=limit_pixels,
        )

    def _broken(self) -> InvalidInput:
        return self._wrong("is broken or cut off: send the whole file again")

    def _wrong(self, detail: str) -> InvalidInput:
        errors = FieldErrors()
        errors.add(self._field, detail)
        return errors.error()


def _tile(picture: Image.Image) -> tuple[int, int]:
    """Height and width of a TIFF's tiles; each is decoded whole, however small the picture."""
    if not isinstance(picture, TiffImageFile):
        return 0, 0
    tags = picture.tag_v2
    return int(tags.get(_TILE_LENGTH, 0)), int(tags.get(_TILE_WIDTH, 0))


def _upright(picture: Image.Image, channels: int) -> Pixels:
    """uint8 [H, W, C]."""
    width, height = picture.size
    swapped, down, right = _turn(picture)
    upright = np.empty(
        (width, height, channels) if swapped else (height, width, channels), np.uint8
    )
    lying = (upright.swapaxes(0, 1) if swapped else upright)[::down, ::right]
    to_srgb = ToSrgb(picture.info.get("icc_profile"), _plain_mode(picture))
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(top + rows, height)))
        lying[top : top + rows] = pixels_of(_in_channels(to_srgb(_plain(strip)), channels))
    return upright


def _turn(picture: Image.Image) -> tuple[bool, int, int]:
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken metadata beside good pixels
        orientation = 1
    return _TURNS.get(orientation, _TURNS[1])


def _plain_mode(picture: Image.Image) -> str:
    """The mode of ``_plain`` of a picture."""
    if picture.mode.startswith("I;16"):
        return "L"
    if picture.has_transparency_data:
        return "LA" if picture.mode == "LA" else "RGBA"
    return picture.mode if picture.mode in ("L", "CMYK") else "L" if picture.mode == "1" else "RGB"


def _plain(picture: Image.Image) -> Image.Image:
    """8 bits a sample, without palettes: L, LA, RGB, RGBA or CMYK."""
    mode = _plain_mode(picture)
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.uint32)
        return Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    return picture if picture.mode == mode else picture.convert(mode)


def _in_channels(picture: Image.Image, channels: int) -> Image.Image:
    if picture.mode in ("LA", "RGBA"):
        picture = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        picture = picture if channels == 4 else on_white(picture)
    mode = MODES[channels]
    return picture if picture.mode == mode else picture.convert(mode)
