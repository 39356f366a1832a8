"""Dynamic batching: many callers, few runs. Knows neither HTTP nor what a run is.

Batches form while the device is busy; an idle one starts at once, without a timer. Whenever it is
free, the next batch is the oldest turn of the priority that is due, and what may share a batch
with it. Behind the lanes of the device there is one more place, for when a full batch waits, which
nothing would gain by waiting longer: it is handed to ``run`` ahead, to be put together meanwhile.
Where one run may spread over the whole device, few rows that have it to themselves are given to
``run_alone``; nothing starts beside them.

Invariants, each with a test of that name in ``tests/service/test_batcher.py``:

- every accepted item ends exactly once: with results, an exception, or cancelled;
- an idle model starts at once, and batches form while it is busy;
- what waits gets as much of the event loop as what comes in;
- what comes in the same step of the event loop shares a batch;
- what comes alone while nothing runs is answered without a task of its own;
- a batch holds whole rows of one key, and at most ``max_batch_rows``, or fewer if rows of that key
  are large;
- a large item is split, and its parts are joined in order;
- idle lanes share what waits;
- few rows that have the device to themselves run alone, and nothing beside them;
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
from itertools import count, islice
from typing import Any, Generic, Literal, NamedTuple, TypeVar

Priority = Literal["interactive", "bulk"]
TURNS_PER_BATCH = 4  # an item gets this part of a batch at a time, or more if few wait
INTERACTIVE_PER_BULK = 7  # batches that go before one of bulk, while bulk waits


class Full(Exception):
    """As many rows or bytes wait as may; the item was not accepted."""


class Expired(Exception):
    """The deadline passed before all rows were answered."""


class Closed(Exception):
    """The batcher takes no more items, or was stopped before this one's turn."""


class RunFailed(Exception):
    """``run`` failed with this item alone in the batch; the cause is chained."""


P = TypeVar("P", bound=Sized)  # rows, which can also be sliced
R = TypeVar("R")


class Done(NamedTuple, Generic[R]):
    """``parts`` are the results in the order of the rows; the two times sum to the whole stay."""

    parts: list[R]
    queued_s: float
    ran_s: float


@dataclass(frozen=True, slots=True)
class Batch(Generic[P]):
    """A batch that has ended: its parts, and how many runs and parts of it failed.

    ``ran_s`` is the time that it kept a lane, its retries included.
    """

    parts: list[P]
    ran_s: float
    alone: bool
    failed_runs: int
    failed_parts: int


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
    ready: Callable[[int, Any], None] | None = None
    ran_s: float = 0.0
    results: dict[int, Any] = field(default_factory=dict)  # R by the first of its rows

    def expire(self) -> None:
        """Wake the caller without its results."""
        self.end(Expired("not answered before its deadline"))

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
        if item.ready is not None:
            item.ready(self.start, result)
        if item.finished == item.size:
            item.end()


@dataclass(eq=False, slots=True)
class _Run:
    """A batch at one place: ``since`` is when a lane was free for it."""

    since: float
    parts: list[_Part]
    alone: bool
    failed_runs: int = 0
    failed_parts: int = 0


class _Ring(OrderedDict[int, _Item]):
    """The waiting items of one priority and key, by turn."""

    rows = 0

    @property
    def key(self) -> Hashable:
        """That all of its items have, when anything waits."""
        return next(iter(self.values())).key


class _Queue:
    """Whose turn it is. Adding and removing an item cost the same however many wait."""

    def __init__(self) -> None:
        self.rows = 0
        self.nbytes = 0
        self._turns = count()
        self._bulk_passed_over = 0
        self._rings: dict[Priority, dict[Hashable, _Ring]] = {"interactive": {}, "bulk": {}}
        self._items: dict[Priority, int] = {"interactive": 0, "bulk": 0}

    def add(self, item: _Item) -> None:
        """Put an item behind the others of its priority."""
        item.turn = next(self._turns)
        rings = self._rings[item.priority]
        ring = rings.get(item.key)
        if ring is None:
            ring = rings[item.key] = _Ring()
        ring[item.turn] = item
        self._count(ring, item, 1)

    def remove(self, item: _Item) -> bool:
        """Take an item out, and tell whether it waited."""
        ring = self._rings[item.priority].get(item.key)
        if ring is None or ring.pop(item.turn, None) is None:
            return False
        self._count(ring, item, -1)
        if not ring:
            del self._rings[item.priority][item.key]
        return True

    def _count(self, ring: _Ring, item: _Item, sign: int) -> None:
        rows = sign * (item.size - item.taken)
        ring.rows += rows
        self.rows += rows
        self.nbytes += sign * item.nbytes
        self._items[item.priority] += sign

    def first_ring(self) -> _Ring:
        """That of the next batch, when anything waits."""
        rings, bulk = self._rings["interactive"], self._rings["bulk"]
        if bulk and (not rings or self._bulk_passed_over >= INTERACTIVE_PER_BULK):
            rings = bulk
        if len(rings) == 1:
            return next(iter(rings.values()))
        return min(rings.values(), key=lambda ring: next(iter(ring)))

    def rows_ahead(self, size: int, priority: Priority, max_rows: int) -> int:
        """About how many of the rows that wait would run before ``size`` new ones have."""
        rows = sum([ring.rows for ring in self._rings[priority].values()])
        other_rows = self.rows - rows
        turn_rows = max(1, max_rows // TURNS_PER_BATCH)
        rounds = -(-size // turn_rows)
        ahead = min(rows, self._items[priority] * rounds * turn_rows)
        if priority == "interactive":
            return ahead + min(other_rows, (ahead + size) // INTERACTIVE_PER_BULK)
        return ahead + min(other_rows, (ahead + size) * INTERACTIVE_PER_BULK)

    def oldest(self) -> float | None:
        """When the item came that has waited for longest; looks at all of them."""
        # Copied before it is looked at, in case another thread asks.
        rings = [ring for by_key in self._rings.values() for ring in list(by_key.values())]
        items = [item for ring in rings for item in list(ring.values())]
        return min((item.arrived for item in items), default=None)

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
                item.expire()
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
        run_alone: like ``run``, and uses the whole device; without it nothing runs alone.
        alone_rows: most rows that are given to ``run_alone``.
        run_at_once: asked first for what comes alone while nothing runs; gives the result without
            having waited for anything, or None when that would take too long.
        most_rows: maps a key, and the most rows of any batch, to the most rows of its batches.
        told: called after each batch.
        withdrawn: called with the rows that were accepted and are never handed to ``run``, as
            their caller went away or their deadline passed.
        clock: of deadlines, and of the times in Done.

    ``max_batch_rows`` may be set while it works.
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
        run_alone: Callable[[Sequence[P]], Awaitable[Sequence[R]]] | None = None,
        alone_rows: int = 0,
        run_at_once: Callable[[P], R | None] | None = None,
        most_rows: Callable[[Hashable, int], int] = lambda key, rows: rows,
        told: Callable[[Batch[P]], None] = lambda batch: None,
        withdrawn: Callable[[int], None] = lambda rows: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if min(max_batch_rows, max_queue_rows, max_queue_bytes, lanes) < 1 or max_wait_s < 0:
            raise ValueError("limits and lanes must be positive, and max_wait_s not negative")
        self._run, self._run_alone, self._lanes, self._clock = run, run_alone, lanes, clock
        self._alone_rows = alone_rows if run_alone is not None else 0
        self._told, self._withdrawn, self._most_rows = told, withdrawn, most_rows
        self._run_at_once = run_at_once
        self.max_batch_rows, self._max_wait_s = max_batch_rows, max_wait_s
        self._max_queue_rows, self._max_queue_bytes = max_queue_rows, max_queue_bytes
        self._queue = _Queue()
        self._ran_s = self._turn_ends = 0.0  # all runs together; until when they keep the loop
        self._running: dict[int, _Run] = {}  # by place, oldest first
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
    def oldest_wait_s(self) -> float:
        """How long the oldest of the waiting items has waited; 0 when nothing waits."""
        oldest = self._queue.oldest()
        return 0.0 if oldest is None else self._clock() - oldest

    def rows_ahead(self, size: int, priority: Priority) -> float:
        """About how many rows would be computed before ``size`` rows that came now.

        A batch on a lane is taken as half done, which it is on average.
        """
        if not self._running and not self._queue.rows:
            return 0.0
        runs = [sum(len(part.rows) for part in run.parts) for run in self._running.values()]
        handed_rows = sum(runs[: self._lanes]) / 2 + sum(runs[self._lanes :])
        return handed_rows + self._queue.rows_ahead(size, priority, self.max_batch_rows)

    @property
    def fullness(self) -> float:
        """The share of what may wait that does, by rows or by bytes, whichever is more."""
        queue = self._queue
        return max(queue.rows / self._max_queue_rows, queue.nbytes / self._max_queue_bytes)

    def has_place(self, rows: int, nbytes: int) -> bool:
        """Whether so much more may wait."""
        free_rows = self._max_queue_rows - self._queue.rows
        return rows <= free_rows and nbytes <= self._max_queue_bytes - self._queue.nbytes

    def require_place(self, rows: int, nbytes: int) -> None:
        """Raise Full unless so much more may wait."""
        if not self.has_place(rows, nbytes):
            raise Full(f"{self._queue.rows} rows and {self._queue.nbytes} bytes wait already")

    def overdue_s(self, least_s: float, limit_s: Callable[[Sequence[P]], float]) -> float:
        """The time of a run on a lane that takes longer than both limits; 0 when none does.

        Args:
            least_s: for any run.
            limit_s: for a run of these parts; not asked before ``least_s``.
        """
        if not self._running:
            return 0.0
        now = self._clock()
        for run in islice(self._running.values(), self._lanes):
            ran_s = now - run.since
            if ran_s > least_s and ran_s > limit_s([part.rows for part in run.parts]):
                return ran_s
        return 0.0

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
        ready: Callable[[int, R], None] | None = None,
    ) -> Done[R]:
        """Wait for the results of ``rows``, at least one. Cancelling this call withdraws them.

        Only rows with equal ``key`` share a batch; ``nbytes`` is what they hold in memory;
        ``deadline`` is on the batcher's clock; ``ready``, which must not fail, is told of each part
        by the first of its rows, when there are several.

        Raises:
            Full, Closed: the rows were not accepted.
            Expired, RunFailed: they were, and came to no result.
        """
        done: asyncio.Future[Exception | None] = self._loop.create_future()
        item = _Item(rows, len(rows), nbytes, key, priority, deadline, self._clock(), done)
        item.ready = ready
        run_at_once = self._run_at_once if self._is_idle else None
        self._accept(item)
        error, timer = None, None
        try:
            if run_at_once and (at_once := await self._at_once(item, run_at_once)) is not None:
                return at_once
            self._wake()
            if deadline is not None:  # a long run is not waited for either
                timer = self._loop.call_later(deadline - self._clock(), item.expire)
            error = await done
        finally:
            if timer is not None:
                timer.cancel()
            if item.taken < item.size:  # this call was cancelled, or it came to no results
                self._queue.remove(item)
                if error is None or isinstance(error, Expired):
                    self._withdrawn(item.size - item.taken)
        if error is not None:
            try:
                raise error
            finally:
                del item, done, error  # they know the error, and the error this frame
        stay_s = self._clock() - item.arrived
        ran_s = min(item.ran_s, stay_s)
        results = item.results
        parts = [results[start] for start in sorted(results)] if len(results) > 1 else [results[0]]
        return Done(parts, stay_s - ran_s, ran_s)

    async def close(self) -> None:
        """Refuse new rows, finish those accepted. Cancelling this call ends them with Closed."""
        self._closing = True
        self._wake()
        await asyncio.gather(*self._places, return_exceptions=True)

    @property
    def _is_idle(self) -> bool:
        return not (self._running or self._queue.rows or self._closing or self._max_wait_s)

    async def _at_once(self, item: _Item, run: Callable[[P], R | None]) -> Done[R] | None:
        """The results of an item that came while nothing ran or waited, if it stays alone.

        It is alone if nobody else comes in its step of the event loop, and its run is over before
        a task would start. A failure is left to the queue, which knows how to deal with it.
        """
        await asyncio.sleep(0)
        start = self._clock()
        if self._running or item.taken or item.size != self._queue.rows:
            return None
        if item.size > self.max_batch_rows:
            return None
        if self._closing or (item.deadline is not None and item.deadline <= start):
            return None
        try:
            result = run(item.rows)
        except Exception:
            return None
        if result is None:
            return None
        self._queue.remove(item)
        item.taken = item.size
        ran_s = self._clock() - start
        self._tell(Batch([item.rows], ran_s, alone=False, failed_runs=0, failed_parts=0))
        return Done([result], start - item.arrived, ran_s)

    def _accept(self, item: _Item) -> None:
        queue = self._queue
        if item.size < 1:
            raise ValueError("there are no rows to run")
        if self._closing:
            raise Closed("the batcher is closed")
        self.require_place(item.size, item.nbytes)
        if self._max_wait_s and self._timer is None and not queue.rows:
            self._timer = self._loop.call_later(self._max_wait_s, self._end_wait)
        queue.add(item)

    # --- The loop: a task for each lane, and one for the place behind them. ---

    async def _serve(self, place: int) -> None:
        parts: list[_Part] = []
        try:
            while not self._closing or self._queue.rows:
                if not self._startable():
                    self._idle.append(waiter := self._loop.create_future())
                    await waiter
                elif parts := self._start(place):
                    self._wake()  # another place may have enough to do
                    await self._execute(parts, place)
                    parts = []  # while nothing comes, hold nothing
                    self._end(place)
                    if self._queue.rows and self._clock() >= self._turn_ends:
                        await self._let_others()
        except BaseException:  # this task was cancelled: nobody may wait for ever
            self._closing = True
            while self._queue.rows:
                parts += self._queue.take(self._queue.rows, self._clock())
            for part in parts:
                part.item.end(Closed("the batcher was stopped"))
            raise
        finally:
            self._wake()  # when closing, the other places end too

    async def _let_others(self) -> None:
        """Give up the event loop, as a run need not have waited for anything, and take a turn.

        A turn is as long as the loop was away: else all that comes in, and is refused, would starve
        what was accepted.
        """
        left, ran_s = self._clock(), self._ran_s
        await asyncio.sleep(0)
        if self._turn_ends <= left:
            now = self._clock()
            self._turn_ends = now + (now - left) - (self._ran_s - ran_s)

    def _startable(self) -> bool:
        """A free lane takes what waits; the place behind the lanes takes a full batch only."""
        free_lanes = self._free_lanes()
        if free_lanes < 0 or not self._queue.rows:
            return False
        if free_lanes > 0 and (self._timer is None or self._closing):
            return True
        ring = self._queue.first_ring()
        return ring.rows >= self._most_rows(ring.key, self.max_batch_rows)

    def _free_lanes(self) -> int:
        """0 leaves the place behind the lanes, and less leaves nothing."""
        for run in self._running.values():
            if run.alone:
                return -1
        return self._lanes - len(self._running)

    def _start(self, place: int) -> list[_Part]:
        """What this place runs next; empty if all whose turn it was had expired."""
        queue, ring, free_lanes = self._queue, self._queue.first_ring(), self._free_lanes()
        alone = not self._running and ring.rows == queue.rows <= self._alone_rows
        max_rows = self._most_rows(ring.key, self.max_batch_rows)
        if free_lanes > 1 and not alone:
            max_rows = min(max_rows, -(-ring.rows // free_lanes))
        parts = queue.take(max_rows, self._clock())
        if parts:
            self._running[place] = _Run(self._clock(), parts, alone)
        return parts

    def _end(self, place: int) -> None:
        """Give up a lane: what was handed over ahead moves up."""
        order = list(self._running)
        run = self._running.pop(place)
        if place in order[: self._lanes] and len(order) > self._lanes:
            self._running[order[self._lanes]].since = self._clock()
        ran_s = self._clock() - run.since
        self._ran_s += ran_s
        rows = [part.rows for part in run.parts]
        self._tell(Batch(rows, ran_s, run.alone, run.failed_runs, run.failed_parts))

    def _tell(self, batch: Batch[P]) -> None:
        try:
            self._told(batch)
        except Exception as error:
            what = {"message": "telling of a batch failed", "exception": error}
            self._loop.call_exception_handler(what)

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
        state = self._running[place]
        run = self._run_alone if state.alone and self._run_alone is not None else self._run
        try:
            results = await run([part.rows for part in parts])
            if len(results) != len(parts):
                raise ValueError(f"run gave {len(results)} results for {len(parts)} parts")
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, GeneratorExit) or (task is not None and task.cancelling()):
                raise  # this task itself is told to end
            cause = error
        else:
            ran_s = self._clock() - state.since
            for part, result in zip(parts, results, strict=True):
                part.finish(result, ran_s)
            return
        state.failed_runs += 1
        if len(parts) > 1:
            middle = len(parts) // 2
            await self._execute(parts[:middle], place)
            await self._execute(parts[middle:], place)
        else:
            failure = RunFailed(f"{type(cause).__name__}: {cause}")
            failure.__cause__ = cause
            state.failed_parts += 1
            parts[0].item.end(failure)
