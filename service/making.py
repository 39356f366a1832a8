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
from typing import NamedTuple, ParamSpec, TypeVar

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
from service.styles import with_style

# Above this the work leaves the event loop. A thread costs 0.05 ms when the machine is idle, many
# times more when it is not, and small pictures hold the interpreter lock for most of their time.
ENCODED_INLINE_S = 2e-3

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
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

    def spend(self, phase: Phase, seconds: float) -> None:
        """Add to the time of a phase."""
        self.phases_s[phase] = self.phases_s.get(phase, 0.0) + seconds


class Job(NamedTuple):
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

    async def infer(
        self,
        task: Task,
        rows: Rows,
        timeout_s: float,
        ready: Callable[[int, Rows], None] | None = None,
    ) -> Rows:
        """The model's answer, its times noted."""
        answer = await self.model.infer(
            task, rows, timeout_s=timeout_s, priority=self.priority, ready=ready
        )
        self.progress.spend("queue", answer.queued_s)
        self.progress.spend("run", answer.ran_s)
        return answer.rows


async def make(job: Job, timeout_s: float) -> Rendered:
    """The whole reply."""
    facts, progress = job.facts, job.progress
    rows, left_s = await _started(job, timeout_s)
    outputs = await job.infer(job.task, rows, left_s)
    start = perf_counter()
    pictures = facts.plan.cut_out(outputs[_image_output(facts.plan).name])
    files = len(pictures) if facts.form.container in ("json", "zip", "multipart") else 1
    cost_s = estimate_s(facts.form.image, files, math.prod(pictures.shape[:3]))
    rendered = await aside(cost_s > ENCODED_INLINE_S, render, pictures, facts)
    progress.phases_s["encode"] = perf_counter() - start
    return rendered


async def _started(job: Job, timeout_s: float) -> tuple[Rows, float]:
    """The rows that the pictures start from, and what is left of the time."""
    fitted, since = job.facts.plan, perf_counter()
    if fitted.reference is not None:
        job.admit(timeout_s)  # no style is read for pictures that would be refused
        fitted = await _styled(job, fitted, fitted.reference, timeout_s)
    start = perf_counter()
    left_s = max(0.0, timeout_s - (start - since))
    rows = await filled(fitted, job.config, partial(job.admit, left_s))
    job.progress.spend("decode", perf_counter() - start)
    return rows, max(0.0, timeout_s - (perf_counter() - since))


async def _styled(job: Job, fitted: Plan, reference: Plan, timeout_s: float) -> Plan:
    """The plan with the style that the model's encode graph tells of its reference."""
    start = perf_counter()
    admit = partial(job.model.admit, "encode", reference.expected, timeout_s, job.priority)
    rows = await filled(reference, job.config, admit)
    filled_s = perf_counter() - start
    job.progress.spend("decode", filled_s)
    answer = await job.infer("encode", rows, max(0.0, timeout_s - filled_s))
    return with_style(fitted, answer)


async def stream(job: Job, multipart: Multipart) -> AsyncGenerator[bytes]:
    """The same in pieces, each as soon as its images are computed. Closing it withdraws the rest.

    What it raises before the first piece can still be told as a refusal.
    """
    rows, left_s = await _started(job, job.timeout_s)
    computed: dict[int, Rows] = {}
    news = asyncio.Event()

    def ready(start: int, outputs: Rows) -> None:
        computed[start] = outputs
        news.set()

    inference = asyncio.create_task(job.infer(job.task, rows, left_s, ready))
    inference.add_done_callback(lambda _: news.set())
    sent, head = 0, multipart.first
    try:
        while sent < len(rows):
            if sent not in computed:
                if inference.done():
                    computed[sent] = inference.result()[sent:]
                    continue
                await news.wait()
                news.clear()
                continue
            outputs = computed.pop(sent)
            yield head + await _encoded(outputs, job, multipart)
            sent, head = sent + len(outputs), b""
        await inference
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
    job.progress.spend("encode", perf_counter() - start)
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
