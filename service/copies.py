"""The copies of what a URL holds: a folder on this machine, which all workers share. Blocks.

::

    <cache>/<the URL, and a digest of it>/
        listing.json                    what the URL held at the last look
        lock                            held by the one process that looks and copies
        <digest>/<name>/<version>/...   a verified copy, named by the digest of its manifest
        partial-...                     one that is being made

A copy never changes, so that whoever reads one reads one version. It is there or not: it is made
beside, and renamed. One that is listed no more is kept for a while, for those who still serve it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from export.fields import Sha256

if sys.platform != "win32":
    import fcntl

KEPT_S = 3600.0  # after it is listed no more: far longer than a worker needs to follow
PARTIAL, DAMAGED = "partial-", ".damaged"  # neither is a name that a bundle can have
_DIGEST = re.compile("[0-9a-f]{64}")


def copies_folder(url: str, cache: Path | None) -> Path:
    """Where the copies of a URL lie; without a cache folder, in the user's."""
    if cache is None:
        import platformdirs  # of the extra

        cache = Path(platformdirs.user_cache_dir("ganymede")) / "models"
    readable = re.sub("[^a-z0-9]+", "-", url.lower()).strip("-")[:48]
    return cache / f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


class Fault(BaseModel):
    """Why a copy is not what the URL holds, or why there is none.

    Attributes:
        reason: in words.
        digest: of the manifest that could not be followed, if it could be read.
        times: how often it was tried again.
        again_s: when to try again, in seconds since the epoch, while it is the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    digest: str = ""
    times: int = 0
    again_s: float = 0.0


class Listing(BaseModel):
    """What a URL held at a look.

    Attributes:
        looked_s: when it was, in seconds since the epoch.
        copies: ``<name>/<version>`` -> the digest of the copy that is to serve.
        faults: likewise of what could not be followed; the key is empty for the URL as a whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    looked_s: float = 0.0
    copies: dict[str, Sha256] = Field(default_factory=dict)
    faults: dict[str, Fault] = Field(default_factory=dict)


class Copies:
    """The folder of one URL's copies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def listing(self) -> Listing:
        """What was found last; nothing, if nothing was, or it cannot be read."""
        try:
            return Listing.model_validate_json((self.folder / "listing.json").read_bytes())
        except (OSError, ValidationError):
            return Listing()

    def tell(self, listing: Listing) -> None:
        """Let everybody know what was found."""
        beside = self.folder / f"{PARTIAL}listing.json"
        beside.write_text(listing.model_dump_json(indent=1) + "\n", "utf-8")
        beside.replace(self.folder / "listing.json")

    def path(self, key: str, digest: str) -> Path:
        """Of the copy of ``<name>/<version>`` with this digest, if there is one."""
        return self.folder / digest / key

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the lock for the block, or be told False: another process has it.

        The system gives it back when its holder ends, however it ends.
        """
        with (self.folder / "lock").open("ab") as file:
            if sys.platform != "win32":  # there, one process serves
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
            yield True

    @contextmanager
    def partial(self) -> Iterator[Path]:
        """A folder for a copy in the making; it is removed, unless it was renamed."""
        folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, partial: Path, digest: str) -> None:
        """Make a copy of what is whole; one that was there, and was damaged, goes."""
        target = self.folder / digest
        if target.exists():
            target.rename(partial / DAMAGED)
        partial.rename(target)
        shutil.rmtree(target / DAMAGED, ignore_errors=True)

    def tidy(self, listed: set[str]) -> None:
        """Remove what was left half made, and what is listed no more since ``KEPT_S``."""
        now_s = time.time()
        for folder in self.folder.iterdir():
            if folder.name in listed:
                os.utime(folder, (now_s, now_s))
            elif folder.name.startswith(PARTIAL) or (
                _DIGEST.fullmatch(folder.name) and folder.stat().st_mtime < now_s - KEPT_S
            ):
                shutil.rmtree(folder, ignore_errors=True)

    def size_bytes(self) -> int:
        """Of all copies of all URLs that share the cache."""
        files = (Path(top, name) for top, _, names in os.walk(self.folder.parent) for name in names)
        total = 0
        for file in files:
            try:
                total += file.stat().st_size
            except OSError:  # another process removed it
                continue
        return total
