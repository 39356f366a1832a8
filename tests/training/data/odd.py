"""Pictures of every kind that a user's folder may hold, as files' bytes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE = (200, 30, 20), (20, 160, 40), (30, 60, 210)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(colour: tuple[int, ...] = RED, size: tuple[int, int] = (20, 20)) -> bytes:
    return encoded(Image.new("RGB", size, colour))


def grey(value: int = 90, size: tuple[int, int] = (20, 20)) -> bytes:
    return encoded(Image.new("L", size, value))


def truncated_jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), "JPEG")
    return whole[: len(whole) // 2]


def palette_with_transparency() -> bytes:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([*RED, *BLUE])
    image.paste(0, (0, 0, 20, 10))
    return encoded(image, transparency=0)  # the upper half is a hole


def animation() -> bytes:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (GREEN, RED)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def odd_pictures() -> dict[str, bytes]:
    """Every one of them must load."""
    sixteen = np.full((20, 20), 90 * 257, np.uint16)
    return {
        "one.png": encoded(Image.new("1", (20, 20), 1)),
        "grey.jpg": encoded(Image.new("L", (20, 20), 90), "JPEG"),
        "grey-alpha.png": encoded(Image.new("LA", (20, 20), (90, 128))),
        "palette.png": palette_with_transparency(),
        "rgb.bmp": encoded(Image.new("RGB", (20, 20), RED), "BMP"),
        "rgba.webp": encoded(Image.new("RGBA", (20, 20), (*RED, 0)), "WEBP", lossless=True),
        "cmyk.jpeg": encoded(Image.new("CMYK", (20, 20), (0, 200, 200, 20)), "JPEG"),
        "sixteen.png": encoded(Image.fromarray(sixteen)),
        "sixteen.pgm": encoded(Image.fromarray(sixteen.astype(np.int32)), "PPM"),
        "sixteen.TIFF": encoded(Image.fromarray(sixteen), "TIFF"),
        "animation.GIF": animation(),
        "pixel.png": plain(size=(1, 1)),
        "ribbon.png": plain(size=(5000, 3)),
        "pillar.Jpg": encoded(Image.new("RGB", (3, 5000), RED), "JPEG"),
        "a jpeg in truth.png": encoded(Image.new("RGB", (20, 20), RED), "JPEG"),
        "ünïcodé 猫.png": plain(),
    }


def broken_pictures() -> dict[str, bytes]:
    """None of them can load."""
    return {
        "empty.jpg": b"",
        "text.png": b"I am no picture at all.\n",
        "truncated.jpg": truncated_jpeg(),
        "float.tiff": encoded(Image.fromarray(np.full((9, 9), 0.5, np.float32)), "TIFF"),
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "phone.heic": b"\0\0\0\x18ftypheic",
    }


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
