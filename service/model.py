"""One version of a model as it serves: a session and a batcher for each of its graphs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from export.bundle import Bundle
from export.manifest import Graph, Manifest, Task
from service.batcher import Batcher, Closed, Expired, Full, Priority, RunFailed
from service.canary import check_answer, specimen, warm_sizes
from service.config import ServiceConfig
from service.errors import DeadlineExceeded, InferenceFailed, InvalidInput, NotReady, QueueFull
from service.metrics import Metrics
from service.rows import Rows
from service.session import OrtSession, Provider, buckets
from service.threads import usable_cores

MAX_BATCH_ROWS: dict[Provider, int] = {"cpu": 16, "cuda": 64}
# When nothing was measured, or a model is about to be replaced, in seconds.
RETRY_AFTER_S = 1.0


@dataclass(frozen=True)
class Answer:
    """The outputs for the rows of one request, and where its time went."""

    rows: Rows
    queued_s: float
    ran_s: float


class Pace:
    """How fast a graph has lately been on its device, in rows per second."""

    NEWEST_WEIGHT = 0.2

    def __init__(self) -> None:
        self._row_s: float | None = None

    def observe(self, rows: int, seconds: float) -> None:
        """Take in one inference."""
        row_s = seconds / rows
        older = row_s if self._row_s is None else self._row_s
        self._row_s = older + self.NEWEST_WEIGHT * (row_s - older)

    def seconds_for(self, rows: int) -> float:
        """The time that ``rows`` will take."""
        return RETRY_AFTER_S if self._row_s is None else rows * self._row_s


class Engine:
    """One graph: its session, and the batcher that feeds it."""

    def __init__(
        self, model: str, session: OrtSession, config: ServiceConfig, metrics: Metrics
    ) -> None:
        self.pace = Pace()
        self._model, self._session, self._metrics = model, session, metrics
        session.observe = self._observe
        self.batcher: Batcher[Rows, Rows] = Batcher(
            self._run,
            max_batch_rows=session.bucket_rows[-1],
            max_queue_rows=config.queue_images,
            max_queue_bytes=config.queue_bytes,
            max_wait_s=config.max_wait_s,
        )

    async def close(self) -> None:
        """Finish what was accepted, then free the device, also when cancelled meanwhile."""
        try:
            await self.batcher.close()
        finally:
            await self._session.close()

    async def _run(self, parts: Sequence[Rows]) -> list[Rows]:
        try:
            return await self._session.run(parts)
        except Exception:
            self._metrics.failed_batches.labels(self._model).inc()
            raise

    def _observe(self, rows: int, padding_rows: int, seconds: float) -> None:
        self.pace.observe(rows, seconds)
        self._metrics.observe_batch(self._model, rows, padding_rows, seconds)


class Model:
    """A bundle that answers. ``load`` makes one."""

    def __init__(self, bundle: Bundle, provider: Provider, engines: dict[str, Engine]) -> None:
        self.bundle = bundle
        self.provider: Provider = provider
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
    def alive(self) -> bool:
        """Whether requests are taken and will be answered."""
        return all(engine.batcher.alive for engine in self._engines.values())

    async def infer(
        self, task: Task, rows: Rows, *, timeout_s: float, priority: Priority = "interactive"
    ) -> Answer:
        """Answer rows that fit the graph of ``task``. Cancelling this call withdraws them.

        Raises:
            InvalidInput: the bundle does not answer ``task``.
            QueueFull, NotReady: refused.
            DeadlineExceeded, InferenceFailed: accepted, and came to no answer.
        """
        name = f"{self.manifest.name}/{self.manifest.version}"
        if task not in self.manifest.tasks:
            answers = ", ".join(self.manifest.tasks)
            raise InvalidInput(f"model {name} does not {task}; it answers: {answers}")
        engine = self._engines[self.manifest.tasks[task]]
        deadline = time.monotonic() + timeout_s
        try:
            # The batcher looks at deadlines when it forms a batch; a long run is not waited for.
            async with asyncio.timeout(timeout_s):
                done = await engine.batcher.submit(
                    rows,
                    key=rows.shape_key(),
                    nbytes=rows.nbytes,
                    deadline=deadline,
                    priority=priority,
                )
        except Full as error:
            raise QueueFull(
                f"too much waits for model {name}: {error}; come back later, or ask for less",
                retry_after_s=engine.pace.seconds_for(engine.batcher.waiting_rows),
            ) from None
        except (Expired, TimeoutError):
            raise DeadlineExceeded(
                f"model {name} did not answer within {timeout_s:g} s; come back later, ask for "
                "less, or allow more time",
                retry_after_s=engine.pace.seconds_for(engine.batcher.waiting_rows),
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
            engines[name] = await _engine(bundle, graph, config, provider, metrics)
    except BaseException:
        await asyncio.gather(*(engine.close() for engine in engines.values()))
        raise
    return Model(bundle, provider, engines)


async def _engine(
    bundle: Bundle, graph: Graph, config: ServiceConfig, provider: Provider, metrics: Metrics
) -> Engine:
    size = bundle.manifest.size
    session = await asyncio.to_thread(
        OrtSession,
        graph,
        bundle.file(graph.onnx),
        size,
        provider=provider,
        bucket_rows=buckets(provider, config.max_batch_rows or MAX_BATCH_ROWS[provider]),
        threads=config.threads or usable_cores(),
    )
    try:
        for height, width in warm_sizes(size):
            row = specimen(graph, height, width)
            await session.warm(row)
            [answer] = await session.run([row])
            check_answer(graph, size, answer)
    except BaseException:
        await session.close()
        raise
    return Engine(bundle.manifest.name, session, config, metrics)
