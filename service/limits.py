"""How many requests a key may send: token buckets that all workers of a service share.

A bucket is one number, the moment at which it will be full again (the virtual scheduling of ITU-T
I.371, known as GCRA): a token is taken by moving the moment on, and time alone fills the bucket.
The numbers lie in a file that each worker maps into its memory. A record lock around reading,
deciding and writing makes them right across workers; it costs two system calls, and the kernel
drops it when a worker dies. The moments are of the monotonic clock, which the processes of one
machine share.

The file only grows, by 40 bytes for each limited key that was ever used. Windows has no record
locks: there the buckets are right for one worker.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.config import InvalidSetting

_MINUTE_NS = 60 * 10**9
_DIGEST_BYTES = 32
_MOMENT = struct.Struct("q")  # native, so that it is one store: a dying worker leaves no half of it
_RECORD_BYTES = _DIGEST_BYTES + _MOMENT.size

if sys.platform == "win32":

    def _lock(descriptor: int, start: int, length: int) -> None:
        """Nothing: Windows has no record locks."""

    def _unlock(descriptor: int, start: int, length: int) -> None:
        """Nothing, likewise."""

else:
    import fcntl

    def _lock(descriptor: int, start: int, length: int) -> None:
        """Wait until no other process holds these bytes; a length of 0 is the file for ever."""
        fcntl.lockf(descriptor, fcntl.LOCK_EX, length, start)

    def _unlock(descriptor: int, start: int, length: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, length, start)


class Limit(BaseModel):
    """How many requests a key may send: so many in the long run, and so many at once.

    Requests and not images, as a request can be counted before its body is read; images are
    bounded where they queue.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_minute: Annotated[int, Field(ge=1, le=6_000_000)]
    burst: Annotated[int, Field(ge=1, le=6_000_000)]

    @cached_property
    def interval_ns(self) -> int:
        """Time in which one token comes back."""
        return _MINUTE_NS // self.per_minute

    @cached_property
    def policy(self) -> str:
        """For the header ``RateLimit-Policy``: at most q requests in w seconds."""
        return f'"key";q={self.burst};w={_seconds_up(self.burst * self.interval_ns)}'


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket says to one request."""

    remaining: int  # requests that would be allowed at once after this one
    full_in_ns: int
    refused_for_ns: int = 0  # 0: allowed

    @property
    def state(self) -> str:
        """For the header ``RateLimit``: r requests remain, and in t seconds all are back."""
        return f'"key";r={self.remaining};t={_seconds_up(self.full_in_ns)}'


class Buckets:
    """The bucket of each key, by the digest of the key. For one thread of each process.

    Args:
        path: a file that the workers of a service share, in a folder that nobody else can write
            to; a temporary one, for this process and its children, when left out.
        clock_ns: the monotonic clock, of all processes.

    Raises:
        InvalidSetting: the file cannot be made or opened.
    """

    def __init__(
        self, path: Path | None = None, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._clock_ns = clock_ns
        self._descriptor = _open(path)
        weakref.finalize(self, os.close, self._descriptor)
        self._memory: mmap.mmap | None = None
        self._places: dict[bytes, int] = {}

    def take(self, digest: bytes, limit: Limit) -> Allowance:
        """Take one token from a key's bucket, if there is one."""
        place = self._places.get(digest)
        if place is None:
            place = self._places[digest] = self._place_of(digest)
        assert self._memory is not None
        interval_ns = limit.interval_ns
        capacity_ns = limit.burst * interval_ns
        with self._alone(place, _MOMENT.size):
            now_ns = self._clock_ns()
            (full_at_ns,) = _MOMENT.unpack_from(self._memory, place)
            # Bounded, as the file may be older than the machine's start, or than the limit.
            full_in_ns = min(max(full_at_ns - now_ns, 0), capacity_ns)
            refused_for_ns = max(full_in_ns + interval_ns - capacity_ns, 0)
            if not refused_for_ns:
                full_in_ns += interval_ns
            _MOMENT.pack_into(self._memory, place, now_ns + full_in_ns)
        remaining = (capacity_ns - full_in_ns) // interval_ns
        return Allowance(remaining, full_in_ns, refused_for_ns)

    def _place_of(self, digest: bytes) -> int:
        """Where the bucket's moment lies in the file; appended, and full, if there is none yet."""
        with self._alone(0, 0):
            size = os.fstat(self._descriptor).st_size // _RECORD_BYTES * _RECORD_BYTES
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            records = os.read(self._descriptor, size)
            starts = range(0, size, _RECORD_BYTES)
            found = (at for at in starts if records[at : at + _DIGEST_BYTES] == digest)
            start = next(found, size)
            if start == size:
                os.lseek(self._descriptor, size, os.SEEK_SET)
                os.write(self._descriptor, digest + _MOMENT.pack(0))
                size += _RECORD_BYTES
        # Only now: the earlier map has a descriptor of its own, whose closing drops every lock.
        self._memory = mmap.mmap(self._descriptor, size)
        return start + _DIGEST_BYTES

    @contextmanager
    def _alone(self, start: int, length: int) -> Iterator[None]:
        """No other worker is in these bytes meanwhile."""
        _lock(self._descriptor, start, length)
        try:
            yield
        finally:
            _unlock(self._descriptor, start, length)


def _open(path: Path | None) -> int:
    try:
        if path is None:
            with tempfile.TemporaryFile() as file:
                return os.dup(file.fileno())
        own = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        return os.open(path, os.O_RDWR | os.O_CREAT | own, 0o600)
    except OSError as error:
        raise InvalidSetting(
            f"the counts of the keys' limits cannot be kept in {path or tempfile.gettempdir()} "
            f"({error.strerror}): set GANYMEDE_RUNTIME_FOLDER to a folder that can be written to"
        ) from error


def _seconds_up(nanoseconds: int) -> int:
    return -(-nanoseconds // 10**9)
