"""Pixels that take long to compute, computed once: a read-only memory map in the cache."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from training.data.cache import fill_folder
from training.data.dataset import Images
from training.errors import DataError

PIXELS = "pixels"


def kept(
    cache: Path,
    facts: list[object],
    shape: tuple[int, int, int, int],
    compute: Callable[[], Iterable[Images]],
) -> Images:
    """The images [N, H, W, C] of ``shape`` that ``compute`` gives in parts, in order.

    Args:
        cache: see ``cache.cache_folder``.
        facts: everything that the pixels depend on, as JSON.
        shape: of them all.
        compute: called when they are not in the cache yet.

    Raises:
        DataError: the cache cannot be written.
    """
    digest = hashlib.sha256(json.dumps([*facts, shape]).encode()).hexdigest()
    home = cache / "computed" / digest[:32]
    path = home / PIXELS

    def fill(folder: Path) -> None:
        with (folder / PIXELS).open("wb") as stream:
            for part in compute():
                stream.write(np.ascontiguousarray(part).data)
            stream.flush()
            os.fsync(stream.fileno())

    try:
        if not (path.is_file() and path.stat().st_size == math.prod(shape)):
            shutil.rmtree(home, ignore_errors=True)
            fill_folder(home, fill)
        return np.memmap(path, np.uint8, "r", shape=shape)
    except OSError as error:
        raise DataError(
            f"computed images cannot be kept in {cache}: {error.strerror or error}. "
            "Make room there, or set GANYMEDE_CACHE to another folder"
        ) from error
