"""Whose an API key is, and what it may still send, while the service runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from service.keys import Key, KeysError, read_keys
from service.limits import Allowance, Buckets
from service.metrics import Metrics

logger = logging.getLogger(__name__)

LONGEST_BYTES = 256  # of what a client may send as a key: more is not even hashed
LOOK_EVERY_S = 1.0
_BLINDING_BYTES = 32


class Keyring:
    """The keys of a file that is read again when it changes.

    Args:
        path: the file.
        metrics: where it shows that the file cannot be used.
        buckets: of the keys that have a limit.
        clock_s: the monotonic clock.

    Raises:
        KeysError: the file cannot be used. Once it could, earlier keys stay in force.
    """

    def __init__(
        self,
        path: Path,
        metrics: Metrics,
        buckets: Buckets,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._metrics = path, metrics
        self._buckets, self._clock_s = buckets, clock_s
        self._blinding = secrets.token_bytes(_BLINDING_BYTES)
        self._nobody = secrets.token_bytes(_BLINDING_BYTES)
        self._stamp = _stamp(path)
        self._keys = self._load()
        self._looks_at_s = clock_s() + LOOK_EVERY_S

    def find(self, presented: bytes) -> Key | None:
        """The key that a client sent, expired or not; None if there is none.

        The table is searched by a digest that nobody outside can foresee, and what is found is
        compared in constant time, so that the time taken tells nothing of the keys.
        """
        self._look()
        if len(presented) > LONGEST_BYTES:
            return None
        digest = hashlib.sha256(presented).digest()
        key = self._keys.get(self._blind(digest))
        same = hmac.compare_digest(key.digest if key else self._nobody, digest)
        return key if same else None

    def take(self, key: Key) -> Allowance | None:
        """Count a request against a key's limit; None if it has none."""
        return self._buckets.take(key.digest, key.limit) if key.limit else None

    def _look(self) -> None:
        """Read the file again if it has changed, looking once a second at most."""
        now_s = self._clock_s()
        if now_s < self._looks_at_s:
            return
        self._looks_at_s = now_s + LOOK_EVERY_S
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._load()
        except KeysError as error:
            self._metrics.keys_stale.set(1)
            logger.error("%s; the keys read before stay in force", error)
        else:
            self._metrics.keys_stale.set(0)
            logger.info("the keys were read again", extra={"keys": len(self._keys)})

    def _load(self) -> dict[bytes, Key]:
        return {self._blind(key.digest): key for key in read_keys(self._path)}

    def _blind(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._blinding, digest_size=16).digest()


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does, or becomes readable; None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
