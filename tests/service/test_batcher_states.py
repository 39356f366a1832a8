"""The batcher's invariants under any order of accept, cancel, expire, fail and close."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.batcher import Batcher, Closed, Done, Expired, Full, Priority, RunFailed
from tests.service.held import Clock, Device, Part, settle

MAX_BATCH_ROWS = 4
MAX_QUEUE_ROWS = 24


@dataclass
class Asked:
    """One submit, as the test sees it."""

    rows: Part
    key: int
    deadline: float | None
    task: asyncio.Task[Done[Part]]
    cancelled: bool = False


class BatcherStates(RuleBasedStateMachine):
    """Two lanes that are one for few rows, two keys, two priorities, and what Hypothesis finds."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock, self.device = Clock(), Device(held=True)
        self.device.watch = self.look
        self.numbers = count()
        self.asked: list[Asked] = []
        self.by_row: dict[int, Asked] = {}
        self.handed: set[int] = set()
        self.alone, self.withdrawn = 0, 0
        self.at_once = "declines"
        self.closing: asyncio.Task[None] | None = None
        self.broken: list[str] = []  # an error raised inside a run would only fail the batch
        self.runner.run(self.start())

    async def start(self) -> None:
        self.batcher: Batcher[Part, Part] = Batcher(
            self.device.run,
            max_batch_rows=MAX_BATCH_ROWS,
            max_queue_rows=MAX_QUEUE_ROWS,
            max_queue_bytes=10_000,
            lanes=2,
            run_alone=self.run_alone,
            alone_rows=2,
            run_at_once=self.run_at_once,
            withdrawn=self.withdraw,
            clock=self.clock,
        )

    async def run_alone(self, parts: Sequence[Part]) -> Sequence[Part]:
        self.broken += ["too many rows alone"] if sum(map(len, parts)) > 2 else []
        self.alone += 1
        try:
            return await self.device.run(parts)
        finally:
            self.alone -= 1

    def run_at_once(self, rows: Part) -> Part | None:
        if self.at_once == "fails":
            raise ValueError("at once")
        if self.at_once == "declines":
            return None
        self.broken += ["run at once, beside another run"] if self.device.running else []
        self.broken += ["run at once, and before"] if self.handed.intersection(rows) else []
        self.look([rows])
        return [2 * row for row in rows]

    def withdraw(self, rows: int) -> None:
        self.withdrawn += rows

    def look(self, parts: Sequence[Part]) -> None:
        """What must hold of every batch."""
        rows = list(chain(*parts))
        asked = [self.by_row[row] for row in rows]
        fresh = [self.by_row[row] for row in rows if row not in self.handed]
        self.handed.update(rows)
        late = [a for a in fresh if a.deadline is not None and a.deadline <= self.clock.now]
        self.broken += ["an expired item is run"] if late else []
        self.broken += ["a cancelled item is run"] if any(a.cancelled for a in asked) else []
        self.broken += ["two keys in a batch"] if len({a.key for a in asked}) > 1 else []
        self.broken += ["too many rows"] if not 1 <= len(rows) <= MAX_BATCH_ROWS else []
        self.broken += ["a row twice in a batch"] if len(set(rows)) < len(rows) else []

    @rule(
        size=st.integers(1, 10),
        key=st.integers(0, 1),
        allowed_s=st.none() | st.integers(0, 3),
        priority=st.sampled_from(["interactive", "bulk"]),
    )
    def accept(self, size: int, key: int, allowed_s: int | None, priority: Priority) -> None:
        deadline = None if allowed_s is None else self.clock.now + allowed_s
        before = self.batcher.waiting_rows

        async def start() -> None:
            self.ask(size, key, deadline, priority)
            await settle()

        self.runner.run(start())
        task = self.asked[-1].task
        refused = task.done() and isinstance(task.exception(), Full | Closed)
        full = before + size > MAX_QUEUE_ROWS
        assert refused == (full or self.closing is not None)

    def ask(
        self, size: int, key: int, deadline: float | None, priority: Priority = "interactive"
    ) -> Asked:
        rows = [next(self.numbers) for _ in range(size)]
        work = self.batcher.submit(rows, key=key, nbytes=1, deadline=deadline, priority=priority)
        asked = Asked(rows, key, deadline, asyncio.create_task(work))
        self.asked.append(asked)
        self.by_row |= dict.fromkeys(rows, asked)
        return asked

    @rule(answers=st.sampled_from(["answers", "declines", "fails"]))
    def change_what_runs_at_once(self, answers: str) -> None:
        self.at_once = answers

    @rule(
        items=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1)), min_size=1, max_size=3),
        then=st.sampled_from(["nothing", "the first goes away", "it is late", "the end"]),
    )
    def accept_in_one_step(self, items: list[tuple[int, int]], then: str) -> None:
        """And let something happen before the first of them knows whether others came."""

        async def start() -> None:
            deadline = self.clock.now + 1
            asked = [self.ask(size, key, deadline) for size, key in items]
            await asyncio.sleep(0)
            if then == "the first goes away":
                asked[0].cancelled = True
                asked[0].task.cancel()
            elif then == "it is late":
                self.clock.now += 1
            elif then == "the end" and self.closing is None:
                self.closing = asyncio.create_task(self.batcher.close())
            await settle()

        self.runner.run(start())

    @precondition(lambda self: any(not asked.task.done() for asked in self.asked))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from([a for a in self.asked if not a.task.done()]))
        asked.cancelled = True
        asked.task.cancel()
        self.runner.run(settle())

    @rule(seconds=st.integers(1, 2))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.device.running)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, self.device.running - 1))
        self.runner.run(self.device.release(index))

    @precondition(lambda self: self.by_row)
    @rule(data=st.data())
    def poison(self, data: st.DataObject) -> None:
        self.device.poison.add(data.draw(st.sampled_from(sorted(self.by_row))))

    @precondition(lambda self: self.closing is None)
    @rule()
    def close(self) -> None:
        async def start() -> None:
            self.closing = asyncio.create_task(self.batcher.close())
            await settle()

        self.runner.run(start())

    @invariant()
    def nothing_is_broken(self) -> None:
        assert self.broken == []
        assert 0 <= self.batcher.waiting_rows <= MAX_QUEUE_ROWS
        assert self.batcher.alive or self.closing is not None

    @invariant()
    def nobody_waits_for_an_idle_device(self) -> None:
        assert self.device.running >= 2 or self.alone or self.batcher.waiting_rows == 0

    @invariant()
    def nothing_runs_beside_what_runs_alone(self) -> None:
        assert self.device.running == 1 or not self.alone

    @invariant()
    def the_rows_ahead_of_a_request_are_no_more_than_there_are(self) -> None:
        there = self.batcher.waiting_rows + MAX_BATCH_ROWS * 3
        for priority in ("interactive", "bulk"):
            assert 0 <= self.batcher.rows_ahead(1, priority) <= there

    def teardown(self) -> None:
        try:
            self.runner.run(self.device.release_all())
            self.runner.run(self.batcher.close())
            for asked in self.asked:
                self.check_end(asked)
            assert self.broken == []
            assert self.withdrawn == sum(map(self.rows_never_run, self.asked))
            assert (self.batcher.waiting_rows, self.batcher.fullness) == (0, 0)
            assert not self.batcher.alive
        finally:
            self.runner.close()

    def rows_never_run(self, asked: Asked) -> int:
        """Those of an item that was accepted, and whose caller went away or ran out of time."""
        if asked.task.cancelled() or isinstance(asked.task.exception(), Expired):
            return len(set(asked.rows) - self.handed)
        return 0

    def check_end(self, asked: Asked) -> None:
        """Ended, and with what it deserved."""
        assert asked.task.done()
        if asked.task.cancelled():
            assert asked.cancelled
        elif (error := asked.task.exception()) is None:
            assert list(chain(*asked.task.result().parts)) == [2 * row for row in asked.rows]
        elif isinstance(error, RunFailed):
            assert self.device.poison.intersection(asked.rows)
        elif isinstance(error, Expired):
            assert asked.deadline is not None
            assert asked.deadline <= self.clock.now
        else:
            assert isinstance(error, Full | Closed)
            assert not self.handed.intersection(asked.rows)


TestBatcherStates = BatcherStates.TestCase
TestBatcherStates.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
