"""One picture, whatever it is, to a square of uint8 pixels.

Turned upright by its EXIF orientation, cropped to the largest centred square, composited on white
where it is transparent, and resized with antialiasing (Lanczos). Of an animation, the first frame.
Colour profiles are ignored: pixels are taken as sRGB.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from training.data.dataset import Images
from training.data.progress import Progress

Image.init()
# What is opened, by content and never by name. Formats that run programs (EPS), wrap others (PDF)
# or cannot be told from noise (TGA) are left out; AVIF is missing from some builds of Pillow.
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
READABLE = tuple(kind for kind in KINDS if kind in Image.OPEN)
PIXEL_LIMIT = 2**26  # 67 megapixels: a decoded picture takes at most 256 MiB
ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
REDUCING_GAP = 3.0  # large pictures are box-reduced to this many times the size, then Lanczos

REPORT_EVERY = 500


class Undecodable(Exception):
    """Not a picture that can be used; the message says why."""


def decode(content: bytes, size: int, *, halves: bool = False) -> Images:
    """The picture in a file's content, as RGB [size, size, 3].

    With ``halves`` each half of it is one, and the two are side by side: [size, 2 * size, 3].

    Raises:
        Undecodable: for whatever reason, with the reason.
    """
    try:
        with Image.open(io.BytesIO(content), formats=READABLE) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise Undecodable(f"{image.width} x {image.height}: more than 67 megapixels")
            turn = UPRIGHT.get(_orientation(image))
            # JPEG only: decodes at an eighth, a quarter or a half where that is large enough.
            image.draft(None, (int(size * REDUCING_GAP),) * 2)
            upright = image if turn is None else image.transpose(turn)
            parts = _halves(upright) if halves else [upright]
            squares = [np.asarray(_resized(_rgb(_cropped(part)), size)) for part in parts]
            return squares[0] if len(squares) == 1 else np.concatenate(squares, axis=1)
    except Undecodable:
        raise
    except UnidentifiedImageError:
        raise Undecodable("not a picture of a kind that is read here") from None
    except Exception as error:  # on broken files the codecs raise whatever they stumble over
        raise Undecodable(str(error) or type(error).__name__) from error


def squared(images: Images, size: int, progress: Progress) -> Images:
    """Each image cropped and resized as ``decode`` does: [N, H, W, C] to [N, size, size, C]."""
    if images.shape[1:3] == (size, size):
        return images
    rows = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for done, (row, pixels) in enumerate(zip(rows, images, strict=True), 1):
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        row[...] = np.asarray(_resized(_cropped(image), size)).reshape(row.shape)
        if done % REPORT_EVERY == 0 or done == len(rows):
            progress("resizing", done, len(rows))
    return rows


def with_channels(images: Images, channels: int) -> Images:
    """Grey repeated to RGB, or RGB weighted to grey (ITU-R 601-2): to [..., channels]."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    luma = images @ np.array([19595, 38470, 7471], np.uint32)  # as Pillow's: of 65536
    return ((luma + 0x8000) >> 16).astype(np.uint8)[..., None]


def is_grey(pixels: Images) -> bool:
    """Whether red, green and blue are the same everywhere."""
    return bool((pixels == pixels[..., :1]).all())


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # broken metadata does not spoil the picture
        return 1


def _halves(image: Image.Image) -> list[Image.Image]:
    if image.width <= image.height:
        raise Undecodable(f"{image.width} x {image.height}: not two pictures side by side")
    middle, width = image.width // 2, image.width
    return [image.crop((left, 0, left + middle, image.height)) for left in (0, width - middle)]


def _cropped(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _from_16_bits(np.asarray(image))
    if image.mode == "F":
        raise Undecodable("floating-point pixels: their range is unknown, save it with 8 bits")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _from_16_bits(pixels: np.ndarray[tuple[int, ...], np.dtype[np.integer]]) -> Image.Image:
    """16-bit grey to 8 bits. 16-bit PGM arrives in 32 bits, so the values decide."""
    if pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise Undecodable("32-bit pixels: their range is unknown, save it with 8 or 16 bits")
    return Image.fromarray(((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _resized(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
