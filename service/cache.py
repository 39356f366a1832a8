"""Finished replies, kept to be sent again: bounded in bytes, the least recently used go first.

Right because seeds are a promise: whoever makes a key of everything that a reply depends on may
send it again for ever. While a reply is being made, further requests for it wait instead of making
it too; when its maker fails or is cancelled, the first that waits makes it in its own stead, so
that nobody fails of another's fault.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

ENTRY_BYTES = 512  # what an entry takes beside the bytes that it holds, about

Outcome = Literal["hit", "shared", "miss"]


class Sized(Protocol):
    """Something that knows how many bytes it holds."""

    @property
    def nbytes(self) -> int: ...  # noqa: D102


V = TypeVar("V", bound=Sized)


@dataclass
class Flight(Generic[V]):
    """A reply in the making."""

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    value: V | None = None  # also after its end, when its maker failed


class ReplyCache(Generic[V]):
    """Values by key, each made once while it is kept.

    Args:
        limit_bytes: of all values together; 0 turns the cache off: nothing is kept or waited for.
        observe: told of each outcome: ``hit`` (it was kept), ``shared`` (it was in the making),
            ``miss`` (it was made for this call).
    """

    def __init__(
        self, limit_bytes: int, observe: Callable[[Outcome], None] = lambda outcome: None
    ) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = 0
        self._observe = observe
        self._kept: OrderedDict[str, V] = OrderedDict()
        self._flights: dict[str, Flight[V]] = {}

    def find(self, key: str) -> V | None:
        """The value of a key, if it is kept."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
            self._observe("hit")
        return value

    async def get(
        self, key: str, make: Callable[[], Awaitable[V]], *, timeout_s: float | None = None
    ) -> tuple[V, Outcome]:
        """The value of a key, and where it came from. Cancelling a call ends no other.

        Args:
            key: names the value.
            make: makes it, if nobody else does.
            timeout_s: the longest wait for others to make it.

        Raises:
            TimeoutError: others were still making it when the time was up.
            Exception: whatever ``make`` raises, for the call that it was made for.
        """
        if not self.limit_bytes:
            return await make(), "miss"
        if (value := self.find(key)) is not None:
            return value, "hit"
        if key in self._flights and (value := await self._others(key, timeout_s)) is not None:
            self._observe("shared")
            return value, "shared"
        self._observe("miss")
        return await self._make(key, make), "miss"

    async def _others(self, key: str, timeout_s: float | None) -> V | None:
        """The value that another call makes; None once nobody does, and it falls to this call."""
        async with asyncio.timeout(timeout_s):
            while flight := self._flights.get(key):
                await flight.ended.wait()
                value = flight.value if flight.value is not None else self._kept.get(key)
                if value is not None:
                    return value
        return None

    async def _make(self, key: str, make: Callable[[], Awaitable[V]]) -> V:
        flight = self._flights[key] = Flight()
        try:
            flight.value = value = await make()
        finally:
            del self._flights[key]
            flight.ended.set()
        self._keep(key, value)
        return value

    def keep(self, key: str, value: V) -> None:
        """Keep a value that was made without ``get``; nothing where the cache is off."""
        if not self.limit_bytes:
            return
        self._observe("miss")
        self._keep(key, value)

    def _keep(self, key: str, value: V) -> None:
        if value.nbytes + ENTRY_BYTES > self.limit_bytes:
            return
        if (replaced := self._kept.pop(key, None)) is not None:
            self.nbytes -= replaced.nbytes + ENTRY_BYTES
        self._kept[key] = value
        self.nbytes += value.nbytes + ENTRY_BYTES
        while self.nbytes > self.limit_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.nbytes -= oldest.nbytes + ENTRY_BYTES
