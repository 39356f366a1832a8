"""A URL's bundles, kept on this machine: looked for and copied in a thread, served from the copies.

What a look finds is told to all workers through ``copies``; only one of them looks and copies. A
store that does not answer changes nothing but what is said of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from pathlib import Path

from export.bundle import MANIFEST, Bundle, BundleError, ChecksumMismatch, load_bundle
from export.origin import File
from service.copies import Copies, Fault, Listing
from service.folders import Failure
from service.remote import Remote, Unreadable

logger = logging.getLogger(__name__)

LOCK_POLL_S = 0.1
PATIENCE_S = 10.0  # at the start, with a store that is slow, where there are copies to serve
LONGEST_BACK_OFF_S = 3600.0  # of what could not be copied, and is the same


class _Stopped(Exception):
    """The service ends: what is being copied is left."""


class Mirror:
    """The copies of one URL, and the thread that keeps them in line.

    Args:
        remote: what is copied.
        copies: where to.
        watch_s: seconds between two looks; 0 looks once.
        limit_bytes: of all copies in the cache.
    """

    def __init__(self, remote: Remote, copies: Copies, watch_s: float, limit_bytes: int) -> None:
        self._remote, self._copies = remote, copies
        self._watch_s, self._limit_bytes = watch_s, limit_bytes
        self._looked, self._stop = threading.Event(), threading.Event()
        # A daemon: it may be waiting for a store that never answers when the service ends.
        self._thread = threading.Thread(target=self._run, name=remote.url, daemon=True)

    def look(self) -> tuple[list[Path], list[Failure]]:
        """The folders of the copies that are to serve, and what is wrong at the URL."""
        listing, url = self._copies.listing(), self._remote.url
        paths = [self._copies.path(key, digest) for key, digest in sorted(listing.copies.items())]
        return paths, [
            Failure(f"{url}/{key}".rstrip("/"), fault.reason)
            for key, fault in sorted(listing.faults.items())
        ]

    # --- The thread. ---

    async def start(self) -> None:
        """Begin; return after the first look, or soon if there are copies to serve."""
        patience_s = PATIENCE_S if self._copies.listing().copies else None
        self._thread.start()
        if not await asyncio.to_thread(self._looked.wait, patience_s):
            logger.warning("%s does not answer yet: its copies serve", self._remote.url)

    def close(self) -> None:
        """Look no more; a copy that is being made is left."""
        self._stop.set()
        self._looked.set()

    def _run(self) -> None:
        self._try(since_s=time.time(), first=True)
        self._looked.set()
        while self._watch_s and not self._stop.wait(self._watch_s):
            self._try(since_s=time.time() - 0.9 * self._watch_s)

    def _try(self, since_s: float, *, first: bool = False) -> None:
        try:
            self.follow(since_s, first=first)
        except _Stopped:
            return
        except Exception:  # the next look may succeed
            logger.exception("looking at %s failed", self._remote.url)

    def follow(self, since_s: float, *, first: bool = False) -> None:
        """Look and copy, unless another process did so since, or is at it.

        Args:
            since_s: a look that was later will do, in seconds since the epoch.
            first: wait for the other process, and trust no copy that was made before.
        """
        while not since_s <= self._copies.listing().looked_s <= time.time():
            with self._copies.locked() as mine:
                if mine:
                    self._copies.tell(self._survey(self._copies.listing(), first))
                    return
            if not first or self._stop.wait(LOCK_POLL_S):
                return

    # --- A look. ---

    def _survey(self, before: Listing, first: bool) -> Listing:
        """Copy what is new, and return what is there now."""
        self._copies.tidy(set(before.copies.values()))
        try:
            keys = self._remote.keys()
        except Unreadable as error:
            fault = Fault(reason=f"{error}; what was copied before goes on serving")
            return Listing(looked_s=time.time(), copies=before.copies, faults={"": fault})
        copies, faults = {}, {}
        for key in keys:
            found = self._survey_one(key, before, first)
            if isinstance(found, Fault):
                faults[key], found = found, before.copies.get(key)
            if found is not None:
                copies[key] = found
        return Listing(looked_s=time.time(), copies=copies, faults=faults)

    def _survey_one(self, key: str, before: Listing, first: bool) -> str | Fault | None:
        """The digest of the copy, or why there is none; None if there is nothing to copy."""
        digest, last = "", before.faults.get(key)
        try:
            raw = self._remote.manifest(key)
            if raw is None:
                return None
            digest = hashlib.sha256(raw).hexdigest()
            if last and last.digest == digest and not first and time.time() < last.again_s:
                return last
            copy = self._copies.path(key, digest)
            if not copy.is_dir() or (first and _is_damaged(copy)):
                self._copy(key, raw, digest)
            return digest
        except (Unreadable, BundleError) as error:
            kept = "; what was copied before goes on serving" if key in before.copies else ""
            times = last.times + 1 if last and last.digest == digest else 0
            again_s = time.time() + min(self._watch_s * 2**times, LONGEST_BACK_OFF_S)
            return Fault(reason=f"{error}{kept}", digest=digest, times=times, again_s=again_s)

    def _copy(self, key: str, raw: bytes, digest: str) -> None:
        """Copy a bundle, whole and verified, or raise Unreadable or BundleError."""
        with self._copies.partial() as partial:
            folder = partial / key
            try:
                folder.mkdir(parents=True)
                (folder / MANIFEST).write_bytes(raw)
                bundle = load_bundle(folder, verify=False)
                self._check(bundle, key)
                for relative, expected in bundle.manifest.files.items():
                    self._fetch(f"{key}/{relative}", bundle.file(relative), expected)
                self._copies.keep(partial, digest)
            except (BundleError, OSError, ValueError) as error:
                there = f"{self._remote.url}/{key}"
                raise BundleError(str(error).replace(str(folder), there)) from error
        logger.info("%s/%s is copied to %s", self._remote.url, key, self._copies.path(key, digest))

    def _check(self, bundle: Bundle, key: str) -> None:
        manifest = bundle.manifest
        if f"{manifest.name}/{manifest.version}" != key:
            raise BundleError(
                f"its manifest says {manifest.name}/{manifest.version}: upload it there"
            )
        needed_bytes = sum(file.size_bytes for file in manifest.files.values())
        if self._copies.size_bytes() + needed_bytes > self._limit_bytes:
            raise BundleError(
                f"its {needed_bytes} bytes are more than the cache has room for: raise "
                f"GANYMEDE_REMOTE_CACHE_BYTES ({self._limit_bytes})"
            )

    def _fetch(self, source: str, target: Path, expected: File) -> None:
        """One file, of which no more is read than the manifest says."""
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("xb") as file:
            for chunk in self._remote.read(source, expected.size_bytes + 1):
                if self._stop.is_set():
                    raise _Stopped
                digest.update(chunk)
                file.write(chunk)
            size_bytes = file.tell()
        if File(sha256=digest.hexdigest(), size_bytes=size_bytes) != expected:
            raise ChecksumMismatch(f"{target} is not the file that was exported: upload it again")


def _is_damaged(copy: Path) -> bool:
    try:
        load_bundle(copy)
    except BundleError:
        return True
    return False
