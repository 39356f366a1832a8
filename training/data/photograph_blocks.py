"""Blocks of 8 x 8 pixels out of the two photographs in scikit-learn, read as data: not imported.

The left three quarters of each photograph are the training split, a block every 2 pixels; the right
quarter is the test split, cut into blocks that do not overlap. No pixel is in both.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from training.data.dataset import Found, Images, Split
from training.data.decode import with_channels
from training.data.wanted import Wanted
from training.errors import DataError

SHA256 = MappingProxyType(
    {
        "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    }
)
SIDE = 8
COLUMNS: Mapping[Split, slice] = MappingProxyType(
    {"train": slice(0, 480), "test": slice(480, None)}
)
STEP: Mapping[Split, int] = MappingProxyType({"train": 2, "test": SIDE})


@dataclass(frozen=True)
class PhotographBlocks:
    """``china.jpg`` and ``flower.jpg``: in the user's folder, else in the installed package."""

    def read(self, name: str, folder: Path | None, wanted: Wanted) -> Found:
        """See ``named.Files``."""
        found = [
            blocks(grey[:, COLUMNS[wanted.split]], STEP[wanted.split])
            for grey in photographs(name, folder)
        ]
        labels = np.repeat(np.arange(len(found)), [len(part) for part in found])
        return Found(np.concatenate(found), labels.astype(np.int64))

    def here(self, name: str, split: Split, cache: Path) -> bool:
        """See ``named.Files``."""
        folder = _installed()
        return folder is not None and all((folder / file).is_file() for file in SHA256)


def photographs(name: str = "photograph-blocks", folder: Path | None = None) -> list[Images]:
    """The whole photographs in grey, uint8 [427, 640] each.

    Raises:
        DataError: they are not there, or are other files.
    """
    place = folder or _installed()
    if place is None:
        raise DataError(
            f"{name} is not on this machine: it is inside the Python package scikit-learn "
            f"(pip install scikit-learn). Or say where {' and '.join(SHA256)} are: {name}:FOLDER"
        )
    return [_photograph(name, place / file, digest) for file, digest in SHA256.items()]


def blocks(grey: Images, step: int) -> Images:
    """[H, W] -> [N, SIDE, SIDE], a block every ``step`` pixels, row by row."""
    windows = np.lib.stride_tricks.sliding_window_view(grey, (SIDE, SIDE))
    return windows[::step, ::step].reshape(-1, SIDE, SIDE).copy()


def _photograph(name: str, path: Path, digest: str) -> Images:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): {name} is made of it") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(f"{path} is not the photograph that {name} is made of: install it again")
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return with_channels(np.asarray(image.convert("RGB")), 1)[..., 0]


def _installed() -> Path | None:
    package = importlib.util.find_spec("sklearn")  # finds it without running it
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "datasets" / "images"
