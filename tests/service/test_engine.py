"""One graph as it serves, on a device that obeys the test, by a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from service.batcher import Done, Priority, RunFailed
from service.config import ServiceConfig
from service.cost import CostTable
from service.engine import OVERDUE_S, REBUILDS, Engine
from service.errors import DeadlineUnmeetable, NotReady, QueueFull
from service.fitted import Fitted, Session
from service.lanes import Lanes, Layout
from service.metrics import Metrics
from service.rows import Rows
from tests.service.held import Clock, settle

pytestmark = pytest.mark.anyio

NARROW, WIDE = Lanes(2, 1), Lanes(1, 2)
ELEMENTS = 3
ONE_LANE = Layout(Lanes(1, 1), None, max_batch_rows=4, alone_rows=0)
TWO_KINDS = Layout(NARROW, WIDE, max_batch_rows=4, alone_rows=1)


def rows(count: int) -> Rows:
    return Rows({"z": np.zeros((count, ELEMENTS), np.float32)})


class Device:
    """Hands rows back; while ``held``, each run waits for ``release``."""

    def __init__(self) -> None:
        self.runs: list[tuple[Lanes, int]] = []
        self.fails: Callable[[int], bool] = lambda rows: False
        self.opens = 0
        self.openable = True
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.held = False
        self._gates: list[asyncio.Future[None]] = []

    async def open(self, lanes: Lanes) -> FakeSession:
        """As an Opener: count, and fail when told."""
        self.opens += 1
        await self.may_open.wait()
        if not self.openable:
            raise RuntimeError("no device")
        return FakeSession(self, lanes)

    async def check(self, session: Session, count: int) -> None:
        """As an Opener."""
        await session.run([rows(count)])

    async def run(self, lanes: Lanes, count: int) -> None:
        """One inference."""
        self.runs.append((lanes, count))
        if self.held:
            self._gates.append(gate := asyncio.get_running_loop().create_future())
            await gate
        if self.fails(count):
            raise RuntimeError("the device failed")

    async def release(self) -> None:
        """Let the oldest run end."""
        self._gates.pop(0).set_result(None)
        await settle()

    async def release_all(self) -> None:
        """Hold nothing any more."""
        self.held = False
        while self._gates:
            await self.release()


class FakeSession:
    """A session on a Device, until it is closed."""

    def __init__(self, device: Device, lanes: Lanes) -> None:
        self.observe: Callable[[int, int, float], None] | None = None
        self.closed = False
        self._device, self._lanes = device, lanes

    run_at_once = None

    async def run(self, parts: Sequence[Rows]) -> list[Rows]:
        """The parts themselves."""
        assert not self.closed
        await self._device.run(self._lanes, sum(map(len, parts)))
        return list(parts)

    async def close(self) -> None:
        """May be called again."""
        self.closed = True


class Bench:
    """An engine, and everything around it that a test holds in its hands."""

    def __init__(self, layout: Layout, **settings: Any) -> None:  # noqa: ANN401
        self.device, self.clock, self.metrics = Device(), Clock(), Metrics()
        self.slept: list[float] = []
        kinds = [lanes for lanes in (layout.busy, layout.alone) if lanes]
        seconds = {1: 1.0, 2: 2.0, 4: 4.0}
        fitted = Fitted(
            layout,
            {lanes: FakeSession(self.device, lanes) for lanes in kinds},
            {lanes: CostTable({ELEMENTS: dict(seconds)}) for lanes in kinds},
        )
        self.engine = Engine(
            "tiny",
            self.device,
            fitted,
            ServiceConfig(**settings),
            self.metrics,
            clock=self.clock,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def submit(
        self, count: int, priority: Priority = "interactive", name: str = "z"
    ) -> asyncio.Task[Done[Rows]]:
        """Start a submit, and let it come as far as it can."""
        batcher = self.engine.batcher
        key = ((name, (ELEMENTS,)),)
        work = batcher.submit(rows(count), key=key, nbytes=1, priority=priority)
        task = asyncio.create_task(work)
        await settle()
        return task

    async def lose(self, count: int) -> None:
        """One request of so many rows that fails."""
        with pytest.raises(RunFailed, match="the device failed"):
            await (await self.submit(count))
        await settle()

    def wait_s(self, priority: Priority) -> float:
        """The wait of one row that came now."""
        wait_s, _ = self.engine.predict(rows(1), priority)
        return wait_s

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"ganymede_{name}", {"model": "tiny"})


@asynccontextmanager
async def bench(layout: Layout = ONE_LANE, **settings: Any) -> AsyncIterator[Bench]:  # noqa: ANN401
    made = Bench(layout, **settings)
    await settle()
    try:
        yield made
    finally:
        await made.device.release_all()
        await made.engine.close()


# --- Lanes. ---


async def test_one_row_on_an_idle_device_takes_the_wide_lane_and_nothing_runs_beside_it() -> None:
    async with bench(TWO_KINDS) as made:
        made.device.held = True
        await made.submit(1)
        await made.submit(8)
        assert made.device.runs == [(WIDE, 1)]
        await made.device.release()
        assert made.device.runs[1:] == [(NARROW, 4), (NARROW, 4)]


async def test_rows_share_the_narrow_lanes() -> None:
    async with bench(TWO_KINDS) as made:
        made.device.held = True
        await made.submit(3)
        assert made.device.runs == [(NARROW, 2), (NARROW, 1)]


# --- What cannot be in time is refused. ---


async def test_an_idle_model_tries_whatever_it_is_asked() -> None:
    async with bench() as made:
        made.engine.admit(rows(64), 0.001, "interactive")


async def test_a_deadline_that_cannot_be_met_is_refused_on_arrival() -> None:
    async with bench() as made:
        made.device.held = True
        await made.submit(4)
        await made.submit(4)  # handed over ahead
        await made.submit(2)
        # 2 s for the half that is left, 4 s for what is next, 1 s for a turn, and 1 s for its own.
        made.engine.admit(rows(1), 8.0, "interactive")
        with pytest.raises(DeadlineUnmeetable, match="would take about 8 s, and 6 s") as refusal:
            made.engine.admit(rows(1), 6.0, "interactive")
        assert refusal.value.retry_after_s == pytest.approx(2)


async def test_predictions_that_were_not_kept_refuse_earlier() -> None:
    async with bench() as made:
        made.device.held = True
        await made.submit(4)
        assert made.engine.admit(rows(1), 4.0, "interactive") == 3
        for _ in range(25):
            made.engine.caution.learn(3.0, 10.0)
        with pytest.raises(DeadlineUnmeetable, match=r"would take about 4\.35 s"):
            made.engine.admit(rows(1), 4.0, "interactive")


async def test_a_row_does_not_wait_for_the_whole_of_a_large_item() -> None:
    async with bench() as made:
        made.device.held = True
        await made.submit(64)
        made.engine.admit(rows(1), 8.0, "interactive")
        with pytest.raises(DeadlineUnmeetable):
            made.engine.admit(rows(32), 69.0, "interactive")


async def test_bulk_waits_for_interactive_and_hardly_the_other_way_round() -> None:
    async with bench() as made:
        made.device.held = True
        await made.submit(4)
        await made.submit(4)
        assert made.wait_s("bulk") == 6
        assert made.wait_s("interactive") == 6
        for _ in range(2):
            await made.submit(1, "bulk")
        await made.submit(1)
        assert made.wait_s("bulk") == 6 + 1 + 2
        assert made.wait_s("interactive") == 6 + 1
        for _ in range(8):
            await made.submit(1, "bulk")
        for _ in range(15):
            await made.submit(1, name="another")
        assert made.wait_s("bulk") == 6 + 16 + 10
        assert made.wait_s("interactive") == 6 + 16 + 2  # 17 let 2 of bulk pass


async def test_two_lanes_halve_the_wait() -> None:
    async with bench(TWO_KINDS) as made:
        made.device.held = True
        await made.submit(12)
        assert made.wait_s("interactive") == (2 + 2 + 4) / 2


async def test_a_queue_may_be_bounded_in_seconds() -> None:
    async with bench(queue_s=3) as made:
        made.device.held = True
        await made.submit(4)
        await made.submit(1)
        made.engine.admit(rows(1), 30.0, "interactive")
        await made.submit(1)
        with pytest.raises(QueueFull, match="takes about 4 s, and 3 s are allowed") as refusal:
            made.engine.admit(rows(1), 30.0, "interactive")
        assert refusal.value.retry_after_s == pytest.approx(1)
        assert made.engine.drain_s() == 2


async def test_interactive_rows_wait_for_twenty_of_their_own_runs_and_bulk_for_all() -> None:
    async with bench() as made:
        made.device.held = True
        await made.submit(4)
        for _ in range(20):
            await made.submit(1, "bulk")
            await made.submit(1)
        with pytest.raises(QueueFull, match="20 s are allowed: come back later, or with priority"):
            made.engine.admit(rows(1), 300.0, "interactive")
        made.engine.admit(rows(1), 300.0, "bulk")
        made.engine.admit(rows(4), 300.0, "interactive")  # its own run is as much longer


async def test_the_queue_is_full_when_the_next_row_is_refused() -> None:
    async with bench() as made:
        assert made.engine.fullness == 0
        made.device.held = True
        await made.submit(4)
        for _ in range(18):
            await made.submit(1)
        assert made.engine.fullness == 1
        made.engine.admit(rows(1), 300.0, "interactive")
        await made.submit(1)
        assert made.engine.fullness > 1
        with pytest.raises(QueueFull):
            made.engine.admit(rows(1), 300.0, "interactive")
    async with bench(queue_images=64, queue_s=1e9) as made:
        made.device.held = True
        await made.submit(4)
        await made.submit(16, "bulk")
        assert made.engine.fullness == 12 / 64  # four are the next batch


# --- What is learnt. ---


async def test_every_batch_puts_its_cost_right_and_the_error_is_told() -> None:
    async with bench() as made:
        made.device.held = True
        task = await made.submit(4)
        made.clock.now += 6.0
        await made.device.release()
        await task
        [costs] = made.engine.costs.values()
        assert costs.seconds_for(4, ELEMENTS) == pytest.approx(4.2)
        assert made.value("cost_ratio_sum") == 1.5


async def test_the_wide_lane_has_a_cost_of_its_own() -> None:
    async with bench(TWO_KINDS) as made:
        made.device.held = True
        await made.submit(1)
        made.clock.now += 2.0
        await made.device.release()
        assert made.engine.costs[WIDE].seconds_for(1, ELEMENTS) == pytest.approx(1.1)
        assert made.engine.costs[NARROW].seconds_for(1, ELEMENTS) == 1.0


async def test_rows_that_were_withdrawn_before_they_ran_are_counted_and_not_run() -> None:
    async with bench() as made:
        made.device.held = True
        running, waiting = await made.submit(1), await made.submit(3)
        for task in (running, waiting):
            task.cancel()
        await settle()
        assert made.value("withdrawn_rows_total") == 3
        await made.device.release_all()
        assert made.device.runs == [(Lanes(1, 1), 1)]


# --- Faults. ---


async def test_batches_that_fail_whole_and_not_in_pieces_become_smaller() -> None:
    async with bench() as made:
        made.device.fails = lambda count: count > 2
        made.device.held = True
        await made.submit(1)
        tasks = [await made.submit(1) for _ in range(8)]
        await made.device.release_all()
        assert [len((await task).parts) for task in tasks] == [1] * 8
        assert made.engine.batcher.max_batch_rows == 2
        assert made.engine.trouble is None
        made.device.runs.clear()
        await (await made.submit(6))
        assert [count for _, count in made.device.runs] == [2, 2, 2]


async def test_one_large_request_that_fails_over_and_over_is_found_to_be_too_large() -> None:
    async with bench() as made:
        made.device.fails = lambda count: count > 2
        for _ in range(3):
            await made.lose(4)
        assert made.engine.batcher.max_batch_rows == 2
        assert len((await (await made.submit(4))).parts) == 2
        assert made.device.opens == 0


async def test_poisoned_requests_change_nothing_on_a_device_that_is_well() -> None:
    async with bench() as made:
        lost = {"count": 3}

        def fails(count: int) -> bool:
            lost["count"] -= 1
            return lost["count"] >= 0

        made.device.fails = fails
        for _ in range(3):
            await made.lose(4)
        assert made.engine.batcher.max_batch_rows == 4
        assert (made.device.opens, made.engine.trouble) == (0, None)


async def test_a_session_that_fails_is_opened_anew_and_what_waits_is_answered() -> None:
    async with bench(TWO_KINDS) as made:
        old = list(made.engine._sessions.values())
        made.device.fails = lambda count: True
        made.device.may_open.clear()
        for _ in range(3):
            await made.lose(1)
        assert made.engine.trouble == "has failed and is being opened anew: try again"
        with pytest.raises(NotReady, match="model tiny has failed"):
            made.engine.admit(rows(1), 30, "interactive")
        waiting = await made.submit(1)
        made.device.fails = lambda count: False
        made.device.may_open.set()
        assert len((await waiting).parts) == 1
        assert made.engine.trouble is None
        assert all(session.closed for session in old if isinstance(session, FakeSession))
        assert (made.device.opens, made.value("session_rebuilds_total")) == (2, 1)
        assert all(session.observe for session in made.engine._sessions.values())


async def test_repair_is_given_up_and_readiness_says_so() -> None:
    async with bench() as made:
        made.device.fails, made.device.openable = lambda count: True, False
        for _ in range(3):
            await made.lose(1)
        assert made.slept == [1.0, 2.0]
        assert made.device.opens == REBUILDS
        assert "failed, also when opened anew 3 times: restart" in (made.engine.trouble or "")
        with pytest.raises(RunFailed):
            await (await made.submit(1))  # nobody waits for ever


async def test_repairs_that_do_not_help_are_bounded_too() -> None:
    async with bench() as made:
        made.device.fails = lambda count: True
        while "restart" not in (made.engine.trouble or ""):
            await made.lose(1)
        assert made.device.opens == REBUILDS


async def test_an_answer_forgets_earlier_repairs() -> None:
    async with bench() as made:
        for _ in range(2 * REBUILDS):
            made.device.fails = lambda count: True
            for _ in range(3):
                await made.lose(1)
            assert made.engine.trouble is None
            made.device.fails = lambda count: False
            await (await made.submit(1))
        assert made.device.opens == 2 * REBUILDS


async def test_closing_ends_a_repair() -> None:
    async with bench() as made:
        made.device.fails = lambda count: True
        made.device.may_open.clear()
        for _ in range(3):
            await made.lose(1)
        assert made.engine.trouble is not None


# --- The watchdog. ---


async def test_a_run_that_takes_far_too_long_is_told_until_it_ends() -> None:
    async with bench() as made:
        made.device.held = True
        task = await made.submit(4)
        made.clock.now += 80
        assert made.engine.trouble is None
        made.clock.now += 1
        assert "one batch for 81 s, far longer than it should" in (made.engine.trouble or "")
        assert made.engine.overdue_s == 81
        with pytest.raises(NotReady, match="far longer"):
            made.engine.admit(rows(1), 30, "interactive")
        await made.device.release()
        await task
        assert (made.engine.trouble, made.engine.overdue_s) == (None, 0)


async def test_a_quick_model_is_not_overdue_at_once() -> None:
    async with bench() as made:
        [costs] = made.engine.costs.values()
        for _ in range(300):
            costs.observe(1, ELEMENTS, 0.001)
        made.device.held = True
        await made.submit(1)
        made.clock.now += OVERDUE_S
        assert made.engine.trouble is None
