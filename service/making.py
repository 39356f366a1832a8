"""Pictures in the making: the rows of a plan, the model's answer, and what is sent of it.

A reply is made whole, or, where its container allows it, sent as it comes to be: then its images
leave in groups of as many as the model computes at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import ParamSpec, TypeVar

from export.manifest import ImageOutput, Task
from service.batcher import Priority
from service.config import ServiceConfig
from service.errors import TooLarge
from service.images import encode_all, estimate_s
from service.inputs import Expected, Plan, bind
from service.metrics import CacheResult, Phase
from service.model import Model
from service.replies import Facts, Multipart, Rendered, render
from service.rows import Rows

# Above this the work leaves the event loop. A thread costs 0.05 ms when the machine is idle, many
# times more when it is not, and small pictures hold the interpreter lock for most of their time.
ENCODED_INLINE_S = 2e-3

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Progress:
    """What is known of a request so far; the log line and the metrics are made of it."""

    model: str = ""
    version: int = 0
    images: int = 0
    start: float = field(default_factory=perf_counter)
    arrived: float | None = None  # when the body was read: deadlines count from there
    phases_s: dict[Phase, float] = field(default_factory=dict)
    cache: CacheResult | None = None  # how a reply that was not made for this request was found

    def left_s(self, timeout_s: float) -> float:
        """What is left of ``timeout_s``, for all that is done once the body was read."""
        since = self.start if self.arrived is None else self.arrived
        return max(0.0, timeout_s - (perf_counter() - since))


@dataclass(frozen=True)
class Job:
    """A reply that has to be made."""

    task: Task
    model: Model
    facts: Facts
    config: ServiceConfig
    progress: Progress
    timeout_s: float
    priority: Priority

    def admit(self, timeout_s: float) -> None:
        """Ask the model whether it would answer at all."""
        self.model.admit(self.task, self.facts.plan.expected, timeout_s, self.priority)


async def make(job: Job, timeout_s: float) -> Rendered:
    """The whole reply."""
    facts, progress = job.facts, job.progress
    start = perf_counter()
    rows = await filled(facts.plan, job.config, partial(job.admit, timeout_s))
    filled_s = perf_counter() - start
    progress.phases_s["decode"] += filled_s
    left_s = max(0.0, timeout_s - filled_s)
    answer = await job.model.infer(job.task, rows, timeout_s=left_s, priority=job.priority)
    progress.phases_s |= {"queue": answer.queued_s, "run": answer.ran_s}
    start = perf_counter()
    pictures = facts.plan.cut_out(answer.rows[_image_output(facts.plan).name])
    files = len(pictures) if facts.form.container in ("json", "zip", "multipart") else 1
    cost_s = estimate_s(facts.form.image, files, math.prod(pictures.shape[:3]))
    rendered = await aside(cost_s > ENCODED_INLINE_S, render, pictures, facts)
    progress.phases_s["encode"] = perf_counter() - start
    return rendered


async def stream(job: Job, multipart: Multipart) -> AsyncGenerator[bytes]:
    """The same in pieces, each as soon as its images are computed. Closing it withdraws the rest.

    What it raises before the first piece can still be told as a refusal.
    """
    facts, progress, start = job.facts, job.progress, perf_counter()
    rows = await filled(facts.plan, job.config, partial(job.admit, job.timeout_s))
    left_s = max(0.0, job.timeout_s - (perf_counter() - start))
    computed: dict[int, Rows] = {}
    news = asyncio.Event()

    def ready(start: int, outputs: Rows) -> None:
        computed[start] = outputs
        news.set()

    inference = asyncio.create_task(
        job.model.infer(job.task, rows, timeout_s=left_s, priority=job.priority, ready=ready)
    )
    inference.add_done_callback(lambda _: news.set())
    sent, head = 0, multipart.first
    try:
        while sent < len(rows):
            if sent not in computed:
                if inference.done():
                    computed[sent] = inference.result().rows[sent:]
                    continue
                await news.wait()
                news.clear()
                continue
            outputs = computed.pop(sent)
            yield head + await _encoded(outputs, job, multipart)
            sent, head = sent + len(outputs), b""
        answer = await inference
        progress.phases_s |= {"queue": answer.queued_s, "run": answer.ran_s}
        yield multipart.last
    finally:
        inference.cancel()


async def _encoded(outputs: Rows, job: Job, multipart: Multipart) -> bytes:
    facts, start = job.facts, perf_counter()
    pictures = facts.plan.cut_out(outputs[_image_output(facts.plan).name])
    cost_s = estimate_s(facts.form.image, len(pictures), math.prod(pictures.shape[:3]))
    files = await aside(
        cost_s > ENCODED_INLINE_S, encode_all, pictures, facts.form.image, facts.quality
    )
    phases_s = job.progress.phases_s
    phases_s["encode"] = phases_s.get("encode", 0.0) + perf_counter() - start
    return b"".join(map(multipart.part, files))


async def filled(
    plan: Plan, config: ServiceConfig, admit: Callable[[], None] | None = None
) -> Rows:
    """Every input of the plan's graph, drawn and scaled.

    Args:
        plan: of the rows.
        config: the bounds of the queue.
        admit: raises when the rows would be refused; asked where it takes long to make them.

    Raises:
        TooLarge: the rows would never fit into the queue.
    """
    require_bounded(plan.expected, config)
    large = plan.is_large
    if large and admit is not None:
        admit()
    return await aside(large, bind, plan)


def require_bounded(rows: Expected, config: ServiceConfig) -> None:
    """Raise TooLarge when rows would never fit into the queue."""
    nbytes = rows.nbytes
    if nbytes > config.queue_bytes:
        raise TooLarge(
            f"{len(rows)} images of {rows.height} x {rows.width} pixels start from {nbytes} "
            f"bytes, and at most {config.queue_bytes} may wait: ask for fewer, or for smaller ones",
            limit_bytes=config.queue_bytes,
        )


def _image_output(plan: Plan) -> ImageOutput:
    """The manifest has one, for every task that is answered with pictures."""
    return next(entry for entry in plan.graph.outputs if isinstance(entry, ImageOutput))


async def aside(large: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` in a thread when it would hold up other requests, here when it would not."""
    if large:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
