"""One version of a model as it serves: an engine for each of its graphs."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from export.bundle import Bundle
from export.manifest import Manifest, Task
from service.batcher import Closed, Expired, Full, Priority, RunFailed
from service.config import ServiceConfig
from service.engine import RETRY_AFTER_S, Engine
from service.errors import DeadlineExceeded, InferenceFailed, InvalidInput, NotReady, QueueFull
from service.metrics import Metrics
from service.opening import open_engine
from service.rows import Rows
from service.session import Provider

__all__ = ["RETRY_AFTER_S", "Answer", "Model", "load"]


@dataclass(frozen=True)
class Answer:
    """The outputs for the rows of one request, and where its time went."""

    rows: Rows
    queued_s: float
    ran_s: float


class Model:
    """A bundle that answers. ``load`` makes one."""

    def __init__(self, bundle: Bundle, provider: Provider, engines: dict[str, Engine]) -> None:
        self.bundle = bundle
        self.provider: Provider = provider
        self._name = f"{bundle.manifest.name}/{bundle.manifest.version}"
        self._engines = engines

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.bundle.manifest

    @property
    def digest(self) -> str:
        """The SHA-256 of the manifest, hence of every file of the bundle."""
        return self.bundle.digest

    @property
    def waiting_rows(self) -> int:
        """Rows that were accepted and do not run yet."""
        return sum(engine.batcher.waiting_rows for engine in self._engines.values())

    @property
    def oldest_wait_s(self) -> float:
        """How long the oldest of the requests in the queue has waited."""
        return max(engine.batcher.oldest_wait_s for engine in self._engines.values())

    @property
    def overdue_s(self) -> float:
        """The time of a run that takes far longer than predicted; 0 when there is none."""
        return max(engine.overdue_s for engine in self._engines.values())

    @property
    def trouble(self) -> str | None:
        """Why requests are refused, in words that follow the model's name."""
        return next((engine.trouble for engine in self._engines.values() if engine.trouble), None)

    @property
    def alive(self) -> bool:
        """Whether requests are taken and will be answered."""
        return self.trouble is None

    @property
    def engines(self) -> Mapping[str, Engine]:
        """The engines by the names of their graphs."""
        return self._engines

    async def infer(
        self,
        task: Task,
        rows: Rows,
        *,
        timeout_s: float,
        priority: Priority = "interactive",
        ready: Callable[[int, Rows], None] | None = None,
    ) -> Answer:
        """Answer rows that fit the graph of ``task``. Cancelling this call withdraws them.

        Args:
            task: names the graph.
            rows: all of one shape.
            timeout_s: after which no answer is wanted.
            priority: before what it is computed.
            ready: told of outputs that come before the others, by the first of their rows.

        Raises:
            InvalidInput: the bundle does not answer ``task``.
            QueueFull, DeadlineUnmeetable, NotReady: refused.
            DeadlineExceeded, InferenceFailed: accepted, and came to no answer.
        """
        if task not in self.manifest.tasks:
            answers = ", ".join(self.manifest.tasks)
            raise InvalidInput(f"model {self._name} does not {task}; it answers: {answers}")
        engine = self._engines[self.manifest.tasks[task]]
        start = time.monotonic()
        try:
            answer = await self._ask(engine, rows, timeout_s, priority, ready)
        except BaseException:
            engine.tally.failed.add(time.monotonic() - start)
            raise
        engine.tally.answered(len(rows), answer.queued_s, answer.ran_s)
        return answer

    async def _ask(
        self,
        engine: Engine,
        rows: Rows,
        timeout_s: float,
        priority: Priority,
        ready: Callable[[int, Rows], None] | None,
    ) -> Answer:
        name = self._name
        predicted_s = engine.admit(rows, timeout_s, priority)
        try:
            done = await engine.batcher.submit(
                rows,
                key=rows.shape_key(),
                nbytes=rows.nbytes,
                deadline=time.monotonic() + timeout_s,
                priority=priority,
                ready=ready,
            )
        except Full as error:
            raise QueueFull(
                f"too much waits for model {name}: {error}; come back later, or ask for less",
                retry_after_s=engine.drain_s(),
            ) from None
        except Expired:
            engine.caution.learn(predicted_s, math.inf)
            raise DeadlineExceeded(
                f"model {name} did not answer within {timeout_s:g} s; come back later, ask for "
                "less, or allow more time",
                retry_after_s=engine.drain_s(),
            ) from None
        except Closed:
            raise NotReady(
                f"model {name} is shutting down or being replaced; try again",
                retry_after_s=RETRY_AFTER_S,
            ) from None
        except RunFailed as error:
            raise InferenceFailed(
                f"model {name} failed; the cause is in the log of the service"
            ) from error
        engine.caution.learn(predicted_s, done.queued_s + done.ran_s)
        return Answer(Rows.join(done.parts), done.queued_s, done.ran_s)

    async def close(self) -> None:
        """Finish what was accepted, then free the device. Cancelling it ends the rest."""
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))


async def load(
    bundle: Bundle, config: ServiceConfig, provider: Provider, metrics: Metrics
) -> Model:
    """Open, warm and try every graph of a bundle.

    Raises:
        GraphMismatch: a graph is not what the manifest says, or answers nonsense.
        RuntimeUnusable: the device stopped working.
    """
    engines: dict[str, Engine] = {}
    try:
        for name, graph in bundle.manifest.graphs.items():
            engines[name] = await open_engine(bundle, graph, config, provider, metrics)
    except BaseException:
        await asyncio.gather(*(engine.close() for engine in engines.values()))
        raise
    return Model(bundle, provider, engines)
