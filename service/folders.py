"""Which bundles lie in the folders, and whether they have changed. Blocks: it reads the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from export.bundle import find_bundles

Identity = tuple[str, int]  # name and version


@dataclass(frozen=True)
class Failure:
    """Something in the folders, or at a URL, that does not serve, and what to do about it."""

    path: Path | str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Hidden(Failure):
    """A bundle of which an earlier folder has the same version."""

    path: Path


@dataclass(frozen=True)
class Found:
    """A bundle's folder, with the path, modification time and size of every file in it."""

    path: Path
    stamp: tuple[tuple[str, int, int], ...]


class Source(Protocol):
    """A place with bundles."""

    def look(self) -> tuple[list[Path], list[Failure]]:
        """The folders ``.../<name>/<version>`` of its bundles, and what is wrong with the place."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder that holds ``<name>/<version>/`` bundles."""

    path: Path

    def look(self) -> tuple[list[Path], list[Failure]]:
        """As ``Source`` says."""
        if os.path.isdir(self.path):  # unlike Path.is_dir, never raises
            return find_bundles(self.path), []
        exists = os.path.exists(self.path)
        why = "is a file, not a folder" if exists else "is no folder: create it"
        return [], [Failure(self.path, f"{why}, or set GANYMEDE_MODELS")]


def scan(sources: Iterable[Source]) -> tuple[dict[Identity, Found], tuple[Failure, ...]]:
    """The bundles by name and version, the first source's where several have one."""
    found: dict[Identity, Found] = {}
    failures: list[Failure] = []
    for source in sources:
        paths, wrong = source.look()
        failures += wrong
        for path in paths:
            identity = path.parent.name, int(path.name)
            bundle = _look(path)
            if bundle is None:
                continue
            first = found.setdefault(identity, bundle)
            if first.path != path:
                failures.append(Hidden(path, f"is hidden by {first.path}: remove one of them"))
    return found, tuple(failures)


def _look(path: Path) -> Found | None:
    """None when it is being removed at this moment."""
    try:
        files = [(file, file.stat()) for file in path.rglob("*") if file.is_file()]
    except OSError:
        return None
    return Found(path, tuple(sorted((str(file), s.st_mtime_ns, s.st_size) for file, s in files)))
