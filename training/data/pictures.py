"""The files of a user's data set before they are decoded: a name, and how to read the bytes."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import NamedTuple

from training.data.dataset import Skipped

FILE_LIMIT_BYTES = 2**28
# HEIC is not read; listed here, its files are skipped by name instead of passed over in silence.
ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif"}
    | {".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif"}
)


class Unreadable(Exception):
    """A file's bytes cannot be had; the message says why."""


class Picture(NamedTuple):
    """A file that should be a picture.

    Args:
        parts: of its path relative to the data set.
        read: gives the bytes, at most ``FILE_LIMIT_BYTES``, or raises Unreadable; thread-safe.
    """

    parts: tuple[str, ...]
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """The relative path, fit to be printed whatever bytes the file system holds."""
        return printable("/".join(self.parts))


@dataclass
class Listing:
    """What a folder or a zip holds.

    Args:
        pictures: in the order of their folders, then of their names.
        skipped: what could not even be listed.
        others: how many files of each other ending were passed over.
    """

    pictures: list[Picture] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, parts: tuple[str, ...], read: Callable[[], bytes]) -> None:
        """List a file, as a picture if its ending is one's."""
        ending = PurePath(parts[-1]).suffix.lower()
        if ending in ENDINGS:
            self.pictures.append(Picture(parts, read))
        else:
            self.others[printable(ending) or "without ending"] += 1

    def sort(self) -> None:
        """Order by folder first, so that the files of a class or a split lie side by side."""
        self.pictures.sort(key=lambda picture: (picture.parts[:-1], picture.parts[-1]))


def is_hidden(part: str) -> bool:
    """Whether an entry belongs to the operating system rather than to the user."""
    return part.startswith(".") or part == "__MACOSX"


def printable(name: str) -> str:
    """A name on one line: bytes that are no UTF-8, control characters and line ends as escapes."""
    shown = name.encode("utf-8", "backslashreplace").decode()
    return "".join(
        f"\\u{ord(c):04x}" if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in shown
    )
