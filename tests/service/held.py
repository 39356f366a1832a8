"""Devices that do what the test says, and a clock that stands still."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.model import Model

Part = list[int]


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Device:
    """Doubles integers; while ``held``, each run waits for ``release``."""

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self.batches: list[list[Part]] = []
        self.poison: set[int] = set()
        self.watch: Callable[[Sequence[Part]], None] = lambda parts: None
        self._gates: deque[asyncio.Future[None]] = deque()

    async def run(self, parts: Sequence[Part]) -> list[Part]:
        """What a batcher is given."""
        self.batches.append([list(part) for part in parts])
        self.watch(parts)
        if self.held:
            self._gates.append(gate := asyncio.get_running_loop().create_future())
            await gate
        if self.poison.intersection(chain(*parts)):
            raise ValueError("poisoned")
        return [[2 * row for row in part] for part in parts]

    @property
    def running(self) -> int:
        """Runs that wait for ``release``."""
        return len(self._gates)

    async def release(self, index: int = 0) -> None:
        """Let one run end, the oldest by default, and what follows from it happen."""
        gate = self._gates[index]
        del self._gates[index]
        gate.set_result(None)
        await settle()

    async def release_all(self) -> None:
        """Hold nothing any more."""
        self.held = False
        while self._gates:
            await self.release()

    @property
    def rows(self) -> list[list[int]]:
        """The rows of each batch."""
        return [list(chain(*batch)) for batch in self.batches]


async def settle() -> None:
    """Let everything happen that waits for nothing but its turn on the loop."""
    for _ in range(20):
        await asyncio.sleep(0)


class Hold:
    """Keeps the device busy after its next inference, until told."""

    def __init__(self, model: Model) -> None:
        self.released = threading.Event()
        [engine] = model.engines.values()
        for session in engine._sessions.values():  # two where a wide lane is quicker alone
            session._inline = False  # type: ignore[attr-defined]  # so that only its thread waits
            session.observe = self.wait

    def wait(self, rows: int, padding_rows: int, seconds: float) -> None:
        self.released.wait(30)

    async def __aenter__(self) -> Hold:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.released.set()
