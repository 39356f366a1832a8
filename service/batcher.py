"""Dynamic batching: many callers, few runs. Knows neither HTTP nor what a run is.

Batches form while the device is busy; an idle one starts at once, without a timer. Whenever it is
free, the next batch is the oldest turn of the priority that is due, and what may share a batch
with it. Behind the lanes of the device there is one more place, for when a full batch waits, which
nothing would gain by waiting longer: it is handed to ``run`` ahead, to be put together meanwhile.

Invariants, each with a test of that name in ``tests/service/test_batcher.py``:

- every accepted item ends exactly once: with results, an exception, or cancelled;
- an idle model starts at once, and batches form while it is busy;
- a batch holds whole rows of one key, and at most ``max_batch_rows``;
- a large item is split, and its parts are joined in order;
- the items of a priority take turns, oldest first;
- bulk gets at least one batch in eight while it waits;
- a cancelled or expired item is never run (what was handed to ``run`` before is dropped after);
- a full queue refuses at once, in rows and in bytes;
- a failed batch is retried in halves so that a poisoned item fails alone;
- closing finishes what was accepted;
- the loop survives anything, and ``alive`` tells when it does not.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence, Sized
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Literal, NamedTuple, TypeVar

Priority = Literal["interactive", "bulk"]
TURNS_PER_BATCH = 4  # an item gets this part of a batch at a time, or more if few wait
INTERACTIVE_PER_BULK = 7  # batches that go before one of bulk, while bulk waits


class Full(Exception):
    """As many rows or bytes wait as may; the item was not accepted."""


class Expired(Exception):
    """The deadline passed before all rows were handed to ``run``."""


class Closed(Exception):
    """The batcher takes no more items, or was stopped before this one's turn."""


class RunFailed(Exception):
    """``run`` failed with this item alone in the batch; the cause is chained."""


P = TypeVar("P", bound=Sized)  # rows, which can also be sliced
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """``parts`` are the results in the order of the rows; the two times sum to the whole stay."""

    parts: list[R]
    queued_s: float
    ran_s: float


@dataclass(eq=False, slots=True)
class _Item:
    """What ``submit`` accepted: the rows up to ``taken`` were handed to ``run``, others wait."""

    rows: Any  # P
    size: int
    nbytes: int
    key: Hashable
    priority: Priority
    deadline: float | None
    arrived: float
    done: asyncio.Future[Exception | None]
    turn: int = 0
    taken: int = 0
    finished: int = 0
    ran_s: float = 0.0
    results: dict[int, Any] = field(default_factory=dict)  # R by the first of its rows

    def end(self, error: Exception | None = None) -> None:
        """Wake the caller, unless it is gone or woken already."""
        if not self.done.done():
            self.done.set_result(error)


class _Part(NamedTuple):
    """Consecutive rows of one item in one batch."""

    item: _Item
    start: int
    rows: Any  # P

    def finish(self, result: object, ran_s: float) -> None:
        item = self.item
        item.results[self.start] = result
        item.ran_s += ran_s
        item.finished += len(self.rows)
        if item.finished == item.size:
            item.end()


class _Ring(OrderedDict[int, _Item]):
    """The waiting items of one priority and key, by turn."""

    rows = 0


class _Queue:
    """Whose turn it is. Adding and removing an item cost the same however many wait."""

    def __init__(self) -> None:
        self.rows = 0
        self.nbytes = 0
        self._turns = count()
        self._bulk_passed_over = 0
        self._rings: dict[Priority, dict[Hashable, _Ring]] = {"interactive": {}, "bulk": {}}

    def add(self, item: _Item) -> None:
        """Put an item behind the others of its priority."""
        item.turn = next(self._turns)
        ring = self._rings[item.priority].setdefault(item.key, _Ring())
        ring[item.turn] = item
        self._count(ring, item, 1)

    def remove(self, item: _Item) -> None:
        """Take an item out, if it waits."""
        ring = self._rings[item.priority].get(item.key)
        if ring is None or ring.pop(item.turn, None) is None:
            return
        self._count(ring, item, -1)
        if not ring:
            del self._rings[item.priority][item.key]

    def _count(self, ring: _Ring, item: _Item, sign: int) -> None:
        rows = sign * (item.size - item.taken)
        ring.rows += rows
        self.rows += rows
        self.nbytes += sign * item.nbytes

    def first_ring(self) -> _Ring:
        """That of the next batch, when anything waits."""
        rings, bulk = self._rings["interactive"], self._rings["bulk"]
        if bulk and (not rings or self._bulk_passed_over >= INTERACTIVE_PER_BULK):
            rings = bulk
        return min(rings.values(), key=lambda ring: next(iter(ring)))

    def take(self, max_rows: int, now: float) -> list[_Part]:
        """The next batch, when anything waits; empty if all whose turn it was had expired."""
        ring, room = self.first_ring(), max_rows
        item = next(iter(ring.values()))
        passes_bulk = item.priority == "interactive" and bool(self._rings["bulk"])
        self._bulk_passed_over = self._bulk_passed_over + 1 if passes_bulk else 0
        turn_rows = max(1, max_rows // min(TURNS_PER_BATCH, len(ring)))
        starts: dict[_Item, int] = {}
        while ring and room:
            item = next(iter(ring.values()))
            turn_rows = room if len(ring) == 1 else turn_rows  # it has nobody to take turns with
            share = min(turn_rows, room, item.size - item.taken)
            self.remove(item)
            if item.deadline is not None and item.deadline <= now:
                item.end(Expired(f"not run within {now - item.arrived:.3f} s"))
            if item.done.done():  # also when its caller is gone, or another part of it failed
                continue
            starts.setdefault(item, item.taken)
            item.taken += share
            room -= share
            if item.taken < item.size:
                self.add(item)  # behind the others
        return [
            _Part(i, start, i.rows if i.size == i.taken - start else i.rows[start : i.taken])
            for i, start in starts.items()
        ]


class Batcher(Generic[P, R]):
    """Groups concurrent calls of ``submit`` into calls of ``run``. Create it in a running loop.

    Args:
        run: maps parts to as many results, in the same order.
        max_batch_rows: most rows in one call of ``run``.
        max_queue_rows, max_queue_bytes: most that wait; beyond either ``submit`` raises Full.
        max_wait_s: longest that rows wait for company while the device is idle; 0 sets no timer.
        lanes: runs that the device computes at once. One more may be called ahead, with a full
            batch, and has to wait for its turn itself.
        clock: of deadlines, and of the times in Done.
    """

    def __init__(
        self,
        run: Callable[[Sequence[P]], Awaitable[Sequence[R]]],
        *,
        max_batch_rows: int,
        max_queue_rows: int,
        max_queue_bytes: int,
        max_wait_s: float = 0.0,
        lanes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if min(max_batch_rows, max_queue_rows, max_queue_bytes, lanes) < 1 or max_wait_s < 0:
            raise ValueError("limits and lanes must be positive, and max_wait_s not negative")
        self._run, self._lanes, self._clock = run, lanes, clock
        self._max_batch_rows, self._max_wait_s = max_batch_rows, max_wait_s
        self._max_queue_rows, self._max_queue_bytes = max_queue_rows, max_queue_bytes
        self._queue = _Queue()
        self._running: dict[int, float] = {}  # place -> when a lane was free for its batch
        self._idle: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None  # while it runs, only full batches start
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._places = [self._loop.create_task(self._serve(place)) for place in range(lanes + 1)]

    @property
    def waiting_rows(self) -> int:
        """Rows that were accepted and not yet handed to ``run``."""
        return self._queue.rows

    @property
    def alive(self) -> bool:
        """False once closed, or when the loop has ended for a reason that nothing foresaw."""
        return not any(place.done() for place in self._places)

    async def submit(
        self,
        rows: P,
        *,
        key: Hashable,
        nbytes: int,
        deadline: float | None = None,
        priority: Priority = "interactive",
    ) -> Done[R]:
        """Wait for the results of ``rows``, at least one. Cancelling this call withdraws them.

        Only rows with equal ``key`` share a batch; ``nbytes`` is what they hold in memory;
        ``deadline`` is on the batcher's clock.

        Raises:
            Full, Closed: the rows were not accepted.
            Expired, RunFailed: they were, and came to no result.
        """
        done: asyncio.Future[Exception | None] = self._loop.create_future()
        item = _Item(rows, len(rows), nbytes, key, priority, deadline, self._clock(), done)
        self._accept(item)
        try:
            error = await done
        finally:
            self._queue.remove(item)  # still there if this call was cancelled, or a part failed
        if error is not None:
            raise error
        stay_s = self._clock() - item.arrived
        ran_s = min(item.ran_s, stay_s)
        return Done([item.results[start] for start in sorted(item.results)], stay_s - ran_s, ran_s)

    async def close(self) -> None:
        """Refuse new rows, finish those accepted. Cancelling this call ends them with Closed."""
        self._closing = True
        self._wake()
        await asyncio.gather(*self._places, return_exceptions=True)

    def _accept(self, item: _Item) -> None:
        queue = self._queue
        if item.size < 1:
            raise ValueError("there are no rows to run")
        if self._closing:
            raise Closed("the batcher is closed")
        free_rows = self._max_queue_rows - queue.rows
        if item.size > free_rows or item.nbytes > self._max_queue_bytes - queue.nbytes:
            raise Full(f"{queue.rows} rows and {queue.nbytes} bytes wait already")
        if self._max_wait_s and self._timer is None and not queue.rows:
            self._timer = self._loop.call_later(self._max_wait_s, self._end_wait)
        queue.add(item)
        self._wake()

    # --- The loop: a task for each lane, and one for the place behind them. ---

    async def _serve(self, place: int) -> None:
        parts: list[_Part] = []
        try:
            while not self._closing or self._queue.rows:
                if not self._startable():
                    self._idle.append(waiter := self._loop.create_future())
                    await waiter
                elif parts := self._queue.take(self._max_batch_rows, self._clock()):
                    self._running[place] = self._clock()
                    self._wake()  # another place may have enough to do
                    await self._execute(parts, place)
                    parts = []  # while nothing comes, hold nothing
                    order = list(self._running)
                    del self._running[place]
                    if place in order[: self._lanes] and len(order) > self._lanes:
                        self._running[order[self._lanes]] = self._clock()  # it has moved up
        except BaseException:  # this task was cancelled: nobody may wait for ever
            self._closing = True
            while self._queue.rows:
                parts += self._queue.take(self._queue.rows, self._clock())
            for part in parts:
                part.item.end(Closed("the batcher was stopped"))
            raise
        finally:
            self._wake()  # when closing, the other places end too

    def _startable(self) -> bool:
        """A free lane takes what waits; the place behind the lanes takes a full batch only."""
        free_lanes = self._lanes - len(self._running)
        if free_lanes < 0 or not self._queue.rows:
            return False
        if free_lanes > 0 and (self._timer is None or self._closing):
            return True
        return self._queue.first_ring().rows >= self._max_batch_rows

    def _wake(self) -> None:
        """Let one idle place look again, if there is something for it to do."""
        while self._idle and (self._startable() or self._closing):
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    def _end_wait(self) -> None:
        self._timer = None
        self._wake()

    async def _execute(self, parts: list[_Part], place: int) -> None:
        """Run parts together; if that fails, in halves, down to the part that fails alone."""
        parts = [part for part in parts if not part.item.done.done()]
        if not parts:
            return
        try:
            results = await self._run([part.rows for part in parts])
            if len(results) != len(parts):
                raise ValueError(f"run gave {len(results)} results for {len(parts)} parts")
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, GeneratorExit) or (task is not None and task.cancelling()):
                raise  # this task itself is told to end
            cause = error
        else:
            ran_s = self._clock() - self._running[place]
            for part, result in zip(parts, results, strict=True):
                part.finish(result, ran_s)
            return
        if len(parts) > 1:
            middle = len(parts) // 2
            await self._execute(parts[:middle], place)
            await self._execute(parts[middle:], place)
        else:
            failure = RunFailed(f"{type(cause).__name__}: {cause}")
            failure.__cause__ = cause
            parts[0].item.end(failure)
