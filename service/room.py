"""Room for large pictures: only so many pixels are worked on at once, and others wait their turn.

A large upload is held several times while it is answered: as it was sent, decoded, scaled to
floats, between the layers of the graph, as the answer and as that answer's file. Its pixels bound
them all. Knows neither HTTP nor pictures.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_NEWEST_WEIGHT = 0.2


class NoRoom(Exception):
    """As many bytes wait for room as may."""


@dataclass(eq=False, slots=True)
class _Place:
    """Somebody who waits, or is in; ``entered`` is done with the latter."""

    pixels: int
    nbytes: int
    entered: asyncio.Future[None]


class Room:
    """Lets pictures in by their pixels, in the order in which they came.

    Args:
        limit_pixels: of all that are in; a larger picture is let in alone.
        limit_waiting_bytes: of all that wait.
        clock: of how long they stay.
    """

    def __init__(
        self,
        limit_pixels: int,
        limit_waiting_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_pixels, self._limit_waiting_bytes = limit_pixels, limit_waiting_bytes
        self.pixels = 0
        self.waiting_bytes = 0
        self._waiting: deque[_Place] = deque()
        self._clock, self._stay_s = clock, 0.0

    @property
    def drain_s(self) -> float:
        """The predicted time until all that wait are in, by how long others stayed."""
        return self._stay_s * (
            0.5 + sum(each.pixels for each in self._waiting) / self._limit_pixels
        )

    @asynccontextmanager
    async def taken(self, pixels: int, nbytes: int) -> AsyncIterator[None]:
        """Room for ``pixels`` inside the block; before it, ``nbytes`` are held while it waits.

        Raises:
            NoRoom: more bytes would wait than may; it did not wait.
        """
        if self._waiting or not self._fits(pixels):
            await self._wait(pixels, nbytes)
        else:
            self.pixels += pixels
        since = self._clock()
        try:
            yield
        finally:
            stay_s = self._clock() - since
            self._stay_s += _NEWEST_WEIGHT * (stay_s - self._stay_s) if self._stay_s else stay_s
            self.pixels -= pixels
            self._let_in()

    def _fits(self, pixels: int) -> bool:
        return not self.pixels or self.pixels + pixels <= self._limit_pixels

    async def _wait(self, pixels: int, nbytes: int) -> None:
        if self.waiting_bytes + nbytes > self._limit_waiting_bytes:
            raise NoRoom(
                f"{len(self._waiting)} pictures of {self.waiting_bytes} bytes wait already"
            )
        place = _Place(pixels, nbytes, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        self.waiting_bytes += nbytes
        try:
            await place.entered
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
                self.waiting_bytes -= nbytes
            elif not place.entered.cancelled():  # let in, and gone in the same moment
                self.pixels -= pixels
            self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting:
            place = self._waiting[0]
            gone = place.entered.cancelled()  # and about to notice
            if not gone and not self._fits(place.pixels):
                break
            self._waiting.popleft()
            self.waiting_bytes -= place.nbytes
            if not gone:
                self.pixels += place.pixels
                place.entered.set_result(None)
