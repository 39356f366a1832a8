"""One version of a model as it serves: an engine for each of its graphs."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from export.bundle import Bundle
from export.manifest import Manifest, Task
from export.origin import NO_PARITY
from service.batcher import Closed, Expired, Full, Priority, RunFailed
from service.config import ServiceConfig
from service.engine import RETRY_AFTER_S, Engine
from service.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    NotReady,
    QueueFull,
    ServiceError,
)
from service.metrics import Metrics
from service.opening import open_engine
from service.room import NoRoom, Room
from service.rows import Rows, Work
from service.session import Provider

logger = logging.getLogger(__name__)

ROOM_UPLOADS = 2  # of the largest size: while one is computed, another is decoded or encoded
SMALL_PIXELS = 2**20  # smaller ones need no room: they are bounded by the queue

__all__ = ["RETRY_AFTER_S", "Answer", "Model", "load", "takes_room"]


class Answer(NamedTuple):
    """The outputs for the rows of one request, and where its time went."""

    rows: Rows
    queued_s: float
    ran_s: float


def takes_room(pixels: int) -> bool:
    """Whether an upload of so many pixels has to wait for room."""
    return pixels > SMALL_PIXELS


class Model:
    """A bundle that answers. ``load`` makes one.

    Args:
        bundle: that it was made of.
        provider: that runs it.
        engines: by the names of their graphs.
        room: for large uploads; bulk has its own, so that it does not keep others out.
    """

    def __init__(
        self,
        bundle: Bundle,
        provider: Provider,
        engines: dict[str, Engine],
        room: Mapping[Priority, Room],
    ) -> None:
        self.bundle = bundle
        self.provider: Provider = provider
        self.name = f"{bundle.manifest.name}/{bundle.manifest.version}"
        self._engines = engines
        self._room = room

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
    def fullness(self) -> float:
        """How near the next image is to a refusal, 1 being there."""
        return max(engine.fullness for engine in self._engines.values())

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
    def notice(self) -> str | None:
        """What to know of it, though it answers."""
        return None if self.manifest.parity else NO_PARITY

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
        engine = self._engine_of(task)
        start, predicted_s = time.monotonic(), 0.0
        try:
            predicted_s = engine.admit(rows, timeout_s, priority)
            parts, queued_s, ran_s = await engine.batcher.submit(
                rows,
                key=rows.shape_key(),
                nbytes=rows.nbytes,
                deadline=start + timeout_s,
                priority=priority,
                ready=ready,
            )
        except BaseException as error:
            engine.tally.failed.add(time.monotonic() - start)
            if isinstance(error, Expired):
                engine.caution.learn(predicted_s, math.inf)
            if isinstance(error, Full | Expired | Closed | RunFailed):
                raise self._told(engine, error) from error if isinstance(error, RunFailed) else None
            raise
        engine.caution.learn(predicted_s, queued_s + ran_s)
        engine.tally.answered(len(rows), queued_s, ran_s)
        return Answer(Rows.join(parts), queued_s, ran_s)

    def admit(
        self, task: Task, work: Work, timeout_s: float, priority: Priority = "interactive"
    ) -> None:
        """Refuse what ``infer`` would refuse now, before it takes time to make the rows.

        Raises:
            InvalidInput, QueueFull, DeadlineUnmeetable, NotReady, DeadlineExceeded: as ``infer``.
        """
        engine = self._engine_of(task)
        try:
            if timeout_s <= 0:
                raise self._late(engine)
            engine.admit(work, timeout_s, priority)
            engine.batcher.require_place(len(work), work.nbytes)
        except Full as error:
            engine.tally.failed.add(0.0)
            raise self._full(engine, error) from None
        except ServiceError:
            engine.tally.failed.add(0.0)
            raise

    def _engine_of(self, task: Task) -> Engine:
        if task not in self.manifest.tasks:
            answers = ", ".join(self.manifest.tasks)
            raise InvalidInput(f"model {self.name} does not {task}; it answers: {answers}")
        return self._engines[self.manifest.tasks[task]]

    def _full(self, engine: Engine, error: Full) -> QueueFull:
        return QueueFull(
            f"too much waits for model {self.name}: {error}; come back later, or ask for less",
            retry_after_s=engine.drain_s(),
        )

    def _late(self, engine: Engine) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"model {self.name} did not answer in time; come back later, ask for less, or allow "
            "more time",
            retry_after_s=engine.drain_s(),
        )

    def _told(self, engine: Engine, error: Full | Expired | Closed | RunFailed) -> ServiceError:
        """What the client is told of rows that the batcher did not take, or not answer."""
        match error:
            case Full():
                return self._full(engine, error)
            case Expired():
                return self._late(engine)
            case Closed():
                detail = f"model {self.name} is shutting down or being replaced; try again"
                return NotReady(detail, retry_after_s=RETRY_AFTER_S)
            case RunFailed():
                detail = f"model {self.name} failed; the cause is in the log of the service"
                return InferenceFailed(detail)

    @asynccontextmanager
    async def room_for(
        self, pixels: int, nbytes: int, timeout_s: float, priority: Priority
    ) -> AsyncIterator[None]:
        """Room for an upload, from before it is decoded until it is answered.

        Args:
            pixels: of the picture.
            nbytes: of its file.
            timeout_s: after which no answer is wanted.
            priority: of the request.

        Raises:
            QueueFull: too much waits for room.
            DeadlineExceeded: there was none in time.
        """
        if not takes_room(pixels):
            yield
            return
        name, room = self.name, self._room[priority]
        async with AsyncExitStack() as stay:
            try:
                async with asyncio.timeout(timeout_s):
                    await stay.enter_async_context(room.taken(pixels, nbytes))
            except NoRoom as error:
                raise QueueFull(
                    f"too many large pictures wait for model {name}: {error}; come back later, or "
                    "send smaller ones",
                    retry_after_s=room.drain_s,
                ) from None
            except TimeoutError:
                raise DeadlineExceeded(
                    f"model {name} had no room for a picture of {pixels} pixels in "
                    "time; come back later, send a smaller one, or allow more time",
                    retry_after_s=room.drain_s,
                ) from None
            yield

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
    limits = ROOM_UPLOADS * config.max_upload_pixels, config.queue_bytes
    room: dict[Priority, Room] = {"interactive": Room(*limits), "bulk": Room(*limits)}
    model = Model(bundle, provider, engines, room)
    if model.notice:
        logger.warning("model %s: %s", model.name, model.notice)
    return model
