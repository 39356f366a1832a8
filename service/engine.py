"""One graph as it serves: its lanes, the batcher that feeds them, what a run costs, and its repair.

It refuses on arrival what cannot be answered in time. When batches fail over and over it asks the
device with rows that must succeed: then they become smaller, or the session is made anew. A run
that takes much longer than it should, and a repair, are ``trouble``: the model is not ready, and
refuses, until they are over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from service.batcher import Batch, Batcher, Priority
from service.config import ServiceConfig
from service.cost import Caution
from service.errors import DeadlineUnmeetable, NotReady, QueueFull
from service.faults import Faults, is_out_of_memory, run_in_halves
from service.fitted import Fitted, Opener, Session
from service.lanes import Lanes
from service.metrics import Metrics
from service.rows import Rows, Work, elements_of
from service.tally import Tally

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0  # when nothing can be predicted
REBUILDS = 3  # of a session, with no batch that succeeded between them
REBUILD_PAUSE_S = 1.0  # before the second; doubled for each further one
QUEUE_S, QUEUE_RUNS = 0.5, 20.0  # the longest wait of interactive rows: so long, or own runs
OVERDUE_FACTOR = 20.0  # a run is overdue after so many times its predicted time,
OVERDUE_S = 10.0  # and not before this


class Engine:
    """A graph that answers. Create it in a running loop.

    Args:
        model: its name, for the log and the metrics.
        opener: asked for new sessions when the present ones fail.
        fitted: the lanes to start with; the sessions are the engine's from now on.
        config: the bounds of the queue.
        metrics: told of every run.
        clock: of everything that is timed.
        sleep: between two attempts at a repair.
    """

    def __init__(
        self,
        model: str,
        opener: Opener,
        fitted: Fitted,
        config: ServiceConfig,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.layout, self.costs = fitted.layout, fitted.costs
        self._model, self._opener, self._metrics = model, opener, metrics
        self._sessions, self._cost_ratio = fitted.sessions, metrics.cost_ratio.labels(model)
        self._queue_s, self._sleep = config.queue_s, sleep
        self.caution, self.tally = Caution(), Tally()
        self._faults, self._rebuilds = Faults(), 0
        self._busy_costs = fitted.costs[fitted.layout.busy]
        self._broken: str | None = None
        self._usable = asyncio.Event()  # unset while the sessions are made anew
        self._usable.set()
        self._examining: asyncio.Task[None] | None = None
        for session in fitted.sessions.values():
            session.observe = metrics.observe_batch(model)
        busy, alone = fitted.layout.busy, fitted.layout.alone
        possible_rows = self._busy_costs.possible_rows
        self.batcher: Batcher[Rows, Rows] = Batcher(
            partial(self._run, busy),
            max_batch_rows=fitted.layout.max_batch_rows,
            max_queue_rows=config.queue_images,
            max_queue_bytes=config.queue_bytes,
            max_wait_s=config.max_wait_s,
            lanes=busy.count,
            run_alone=partial(self._run, alone) if alone else None,
            run_at_once=self._run_at_once if fitted.sessions[busy].run_at_once else None,
            alone_rows=fitted.layout.alone_rows,
            most_rows=lambda key, rows: possible_rows(rows, elements_of(key)),
            told=self._learn,
            withdrawn=metrics.withdrawn_rows.labels(model).inc,
            clock=clock,
        )

    # --- What to expect. ---

    @property
    def trouble(self) -> str | None:
        """Why requests are refused, in words that follow the model's name."""
        if not self.batcher.alive:
            return "has stopped: restart the service"
        return self._sickness

    @property
    def _sickness(self) -> str | None:
        """Trouble of the device."""
        if self._broken is not None:
            return self._broken
        if overdue_s := self.overdue_s:
            return (
                f"has been computing one batch for {overdue_s:.0f} s, far longer than it should: "
                "if it does not end, restart the service"
            )
        return None

    @property
    def overdue_s(self) -> float:
        """The time of a run that takes far longer than predicted; 0 when there is none."""
        return self.batcher.overdue_s(OVERDUE_S, self._overdue_limit_s)

    def drain_s(self) -> float:
        """The predicted time of everything that waits."""
        return self.batcher.waiting_rows * self._row_s(self._busy_costs.largest_work)

    @property
    def fullness(self) -> float:
        """How near one interactive row is to a refusal for what waits before it; 1 is refused."""
        wait_s, own_s = self._predict(self._busy_costs.largest_work, 1, "interactive")
        longest_s = self._longest_wait_s(own_s, "interactive")
        return max(self.batcher.fullness, wait_s * self.caution.factor / longest_s)

    def predict(self, rows: Work, priority: Priority) -> tuple[float, float]:
        """The seconds that rows which came now would wait, and those that they would then take."""
        return self._predict(rows.row_elements, len(rows), priority)

    def _predict(self, work: int, count: int, priority: Priority) -> tuple[float, float]:
        costs = self._busy_costs
        batch_rows = costs.possible_rows(self.batcher.max_batch_rows, work)
        run_s = costs.seconds_for(min(count, batch_rows), work)
        ahead = self.batcher.rows_ahead(count, priority)
        if not ahead and count <= batch_rows:
            return 0.0, run_s
        row_s = self._row_s(work)
        return ahead * row_s, max(run_s, count * row_s)

    def admit(self, rows: Work, timeout_s: float, priority: Priority) -> float:
        """Refuse rows that would wait in vain; an idle model tries whatever it is asked.

        Were it to trust its predictions then too, a wrong one would never be put right.

        Returns:
            The predicted seconds to the answer, for ``caution`` to learn from.

        Raises:
            NotReady, DeadlineUnmeetable, QueueFull.
        """
        if sickness := self._sickness:
            raise NotReady(f"model {self._model} {sickness}", retry_after_s=RETRY_AFTER_S)
        wait_s, own_s = self.predict(rows, priority)
        if not wait_s:
            return own_s
        predicted_s = wait_s + own_s
        needed_s, wait_s = predicted_s * self.caution.factor, wait_s * self.caution.factor
        if needed_s > timeout_s:
            raise DeadlineUnmeetable(
                f"the answer would take about {needed_s:.3g} s, and {timeout_s:.3g} s are left: "
                "come back later, ask for less, or allow more time",
                retry_after_s=needed_s - timeout_s,
            )
        longest_s = self._longest_wait_s(own_s, priority)
        if wait_s > longest_s:
            raise QueueFull(
                f"what waits for model {self._model} takes about {wait_s:.3g} s, and "
                f"{longest_s:.3g} s are allowed: come back later, or with priority bulk",
                retry_after_s=wait_s - longest_s,
            )
        return predicted_s

    def _longest_wait_s(self, own_s: float, priority: Priority) -> float:
        """Bulk waits until its deadline; what is interactive is not, once it has waited long."""
        if self._queue_s is not None:
            return self._queue_s
        return math.inf if priority == "bulk" else max(QUEUE_S, QUEUE_RUNS * own_s)

    def _row_s(self, row_elements: int) -> float:
        """The time of a row when all lanes run full batches."""
        costs = self._busy_costs
        rows = costs.possible_rows(self.batcher.max_batch_rows, row_elements)
        return costs.seconds_for(rows, row_elements) / (rows * self.layout.busy.count)

    def _overdue_limit_s(self, parts: Sequence[Rows]) -> float:
        rows = sum(map(len, parts))
        predicted_s = self._busy_costs.seconds_for(rows, parts[0].row_elements)
        return OVERDUE_FACTOR * predicted_s

    # --- Runs, and what is learnt from them. ---

    async def _run(self, lanes: Lanes, parts: Sequence[Rows]) -> list[Rows]:
        if not self._usable.is_set():
            await self._usable.wait()
        try:
            return await self._sessions[lanes].run(parts)
        except Exception as error:
            self._metrics.failed_batches.labels(self._model).inc()
            if not (len(parts) == 1 < len(parts[0]) and is_out_of_memory(error)):
                raise  # the batcher makes smaller batches of several parts
            self._shrink(len(parts[0]))
            return [await run_in_halves(partial(self._run, lanes), parts[0])]

    def _run_at_once(self, rows: Rows) -> Rows | None:
        run = self._sessions[self.layout.busy].run_at_once
        return None if self._broken is not None or run is None else run(rows)

    def _learn(self, batch: Batch[Rows]) -> None:
        self.tally.executed(batch)
        rows = sum(map(len, batch.parts))
        lanes = self.layout.alone if batch.alone and self.layout.alone else self.layout.busy
        if not batch.failed_runs:
            self._rebuilds = 0
            ratio = self.costs[lanes].observe(rows, batch.parts[0].row_elements, batch.ran_s)
            self._cost_ratio.observe(ratio)
        verdict = self._faults.judge(rows, len(batch.parts), batch.failed_runs, batch.failed_parts)
        if verdict == "too large":
            self._shrink(rows)
        elif verdict == "suspect" and not (self._examining or self._broken):
            self._examining = asyncio.create_task(self._examine(lanes, rows))

    # --- Repair. ---

    def _shrink(self, rows: int) -> None:
        smaller = max(1, min(self.batcher.max_batch_rows, rows // 2))
        logger.warning(
            "model %s: batches of %d rows fail and smaller ones do not; at most %d from now on",
            self._model, rows, smaller,
        )  # fmt: skip
        self.batcher.max_batch_rows = smaller

    async def _examine(self, lanes: Lanes, rows: int) -> None:
        """Is it the requests, the size of the batches, or the session?"""
        try:
            session = self._sessions[lanes]
            if await self._fails(session, 1):
                await self._rebuild()
            elif rows > 1 and await self._fails(session, rows):
                self._shrink(rows)
        finally:
            self._examining = None

    async def _fails(self, session: Session, rows: int) -> bool:
        try:
            await self._opener.check(session, rows)
        except Exception:
            logger.warning("model %s fails where it must not", self._model, exc_info=True)
            return True
        return False

    async def _rebuild(self) -> None:
        """Make the sessions anew; what waits meanwhile goes on waiting."""
        self._broken = "has failed and is being opened anew: try again"
        self._usable.clear()
        try:
            while self._rebuilds < REBUILDS:
                if self._rebuilds:
                    await self._sleep(REBUILD_PAUSE_S * 2 ** (self._rebuilds - 1))
                self._rebuilds += 1
                try:
                    await self._reopen()
                except Exception:
                    logger.exception("model %s could not be opened anew", self._model)
                else:
                    self._broken = None
                    logger.warning("model %s was opened anew", self._model)
                    return
            self._broken = f"failed, also when opened anew {REBUILDS} times: restart the service"
        finally:
            self._usable.set()

    async def _reopen(self) -> None:
        self._metrics.session_rebuilds.labels(self._model).inc()
        for session in self._sessions.values():  # first, so that their memory is free
            await session.close()
        for lanes in self._sessions:
            session = await self._opener.open(lanes)
            session.observe = self._metrics.observe_batch(self._model)
            self._sessions[lanes] = session

    async def close(self) -> None:
        """Finish what was accepted, then free the device, also when cancelled meanwhile."""
        try:
            await self.batcher.close()
        finally:
            if self._examining is not None:
                self._examining.cancel()
                await asyncio.gather(self._examining, return_exceptions=True)
            for session in self._sessions.values():
                await session.close()
