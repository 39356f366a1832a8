"""Where decoded pictures and downloads are kept between runs."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs

PARTIAL = ".partial-"
ABANDONED_S = 24 * 3600  # a partial folder this old was left by a run that was killed


def cache_folder(chosen: Path | str | None = None) -> Path:
    """``chosen``, else GANYMEDE_CACHE, else the user's cache folder of this platform."""
    folder = chosen or os.environ.get("GANYMEDE_CACHE") or platformdirs.user_cache_dir("ganymede")
    return Path(folder).expanduser()


def fill_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Make ``target`` by filling a folder beside it, and renaming that when it is complete.

    Whatever interrupts it, there is never half a ``target``. When another process makes the same
    one first, theirs is kept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    partial = target.parent / f"{PARTIAL}{secrets.token_hex(8)}"
    partial.mkdir()
    try:
        fill(partial)
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sweep(folder: Path) -> None:
    for partial in folder.glob(f"{PARTIAL}*"):
        if time.time() - partial.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(partial, ignore_errors=True)
