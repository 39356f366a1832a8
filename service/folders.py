"""Which bundles lie in the folders, and whether they have changed. Blocks: it reads the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from export.bundle import find_bundles

Identity = tuple[str, int]  # name and version


@dataclass(frozen=True)
class Failure:
    """Something in the folders that does not serve, and what to do about it."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Hidden(Failure):
    """A bundle of which an earlier folder has the same version."""


@dataclass(frozen=True)
class Found:
    """A bundle's folder, with the path, modification time and size of every file in it."""

    path: Path
    stamp: tuple[tuple[str, int, int], ...]


def scan(folders: Iterable[Path]) -> tuple[dict[Identity, Found], tuple[Failure, ...]]:
    """The bundles by name and version, the first folder's where several have one."""
    found: dict[Identity, Found] = {}
    failures: list[Failure] = []
    for folder in folders:
        if not os.path.isdir(folder):  # unlike Path.is_dir, never raises
            why = "is a file, not a folder" if os.path.exists(folder) else "is no folder: create it"
            failures.append(Failure(folder, f"{why}, or set GANYMEDE_MODELS"))
            continue
        for path in find_bundles(folder):
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
