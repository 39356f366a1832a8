"""The pictures in a folder, at any depth."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.data.dataset import Skipped
from training.data.pictures import (
    FILE_LIMIT_BYTES,
    Listing,
    Unreadable,
    is_hidden,
    printable,
)


def list_folder(root: Path) -> Listing:
    """Every picture below ``root``; hidden files and folders are left out.

    Links are followed; a folder that is reached twice is read once, under its real place if it has
    one below ``root``, so that a loop of links ends.
    """
    listing = Listing()
    seen: set[str] = set()
    waiting: deque[tuple[str, tuple[str, ...]]] = deque([(str(root), ())])
    while waiting:
        folder, parts = waiting.popleft()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        for name in _names(folder, parts, listing):
            path, inner = os.path.join(folder, name), (*parts, name)
            if not os.path.isdir(path):
                listing.add(inner, partial(_read, path))
            elif os.path.islink(path):
                waiting.append((path, inner))
            else:
                waiting.appendleft((path, inner))
    listing.sort()
    return listing


def _names(folder: str, parts: tuple[str, ...], listing: Listing) -> Iterator[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        listing.skipped.append(Skipped(printable("/".join(parts)) + "/", error.strerror or "error"))
        return
    yield from (name for name in names if not is_hidden(name))


def _read(path: str) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise Unreadable("not a regular file")
        if status.st_size > FILE_LIMIT_BYTES:
            raise Unreadable(f"{status.st_size} bytes, more than {FILE_LIMIT_BYTES}")
        return Path(path).read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
