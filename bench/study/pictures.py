"""Folders of pictures, as files that differ in nothing but what they show.

Every picture is decoded and written again as PNG without its metadata, so that neither a format nor
a name nor a date tells what was generated; all must have one size.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.command import BenchError

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
MOST_PIXELS = 2**24


@dataclass(frozen=True)
class Album:
    """Pictures by name (the file's, without its ending), as PNG files."""

    files: dict[str, bytes]
    size: tuple[int, int]

    @property
    def digest(self) -> str:
        """SHA-256 of all of them."""
        digest = hashlib.sha256()
        for name, file in sorted(self.files.items()):
            digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(file).digest())
        return digest.hexdigest()


def read_album(folder: Path) -> Album:
    """The pictures in a folder.

    Raises:
        BenchError: there is none, one cannot be read, or they differ in size.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in ENDINGS)
    if not paths:
        raise BenchError(
            f"{folder} holds no picture: give a folder of {', '.join(sorted(ENDINGS))}"
        )
    files: dict[str, bytes] = {}
    sizes: dict[tuple[int, int], Path] = {}
    for path in paths:
        if path.stem in files:
            raise BenchError(f"{folder} has two pictures named {path.stem}: rename one")
        picture = _decoded(path)
        sizes.setdefault(picture.size, path)
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        files[path.stem] = stream.getvalue()
    if len(sizes) > 1:
        raise BenchError(
            f"the pictures in {folder} differ in size, which would tell: {_told(sizes)}"
        )
    return Album(files, next(iter(sizes)))


def require_alike(albums: dict[str, Album], least: int) -> None:
    """Raise BenchError unless all have one size, and as many pictures as a sitting shows."""
    sizes = {album.size: Path(name) for name, album in albums.items()}
    if len(sizes) > 1:
        raise BenchError(f"pictures that differ in size would tell: {_told(sizes)}; scale them")
    for name, album in albums.items():
        if len(album.files) < least:
            raise BenchError(
                f"{name} has {len(album.files)} pictures, and a sitting shows {least}: give more, "
                "or ask for fewer --trials"
            )


def _decoded(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise BenchError(f"{path} has more than {MOST_PIXELS} pixels: scale it")
            return picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BenchError(f"{path} cannot be read as a picture ({error}): remove it") from None


def _told(sizes: dict[tuple[int, int], Path]) -> str:
    told = [f"{path.name} {width}x{height}" for (width, height), path in sizes.items()]
    return ", ".join(told)
