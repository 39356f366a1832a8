"""One request for pictures, from its parsed words to its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import ParamSpec, TypeVar

from export.manifest import ImageOutput
from service.batcher import Priority
from service.config import ServiceConfig
from service.errors import InvalidInput
from service.fields import FieldErrors
from service.images import DEFAULT_QUALITY, LOSSY, MAX_SIDE, Pixels, grid_shape
from service.inputs import Plan, bind
from service.metrics import Phase
from service.model import Model
from service.negotiation import Form
from service.planning import plan
from service.replies import Facts, Rendered, Reply, matches, render
from service.schemas import GenerateQuery, GenerateRequest

# Above these the work leaves the event loop: a thread costs about 0.1 ms, which is what these cost.
PARSED_INLINE_BYTES = 2**14
DRAWN_INLINE_ELEMENTS = 2**14
ENCODED_INLINE_PIXELS = 2**10

PINNED = "public, max-age=31536000, immutable"  # a bundle's version never changes
UNPINNED = "public, max-age=60"  # the default version may
REVALIDATE = "no-cache"  # for POST: nobody may reuse it unasked, and asking needs no inference

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Progress:
    """What is known of a request so far; the log line and the metrics are made of it."""

    model: str = ""
    version: int = 0
    images: int = 0
    start: float = field(default_factory=perf_counter)
    phases_s: dict[Phase, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditions:
    """What HTTP adds to a request for pictures."""

    form: Form
    plain_url: bool = False  # GET: caches may keep the reply
    head_only: bool = False
    known_tags: str | None = None  # If-None-Match
    timeout_s: float | None = None  # X-Request-Timeout


async def generate(
    model: Model,
    request: GenerateQuery,
    conditions: Conditions,
    config: ServiceConfig,
    progress: Progress,
) -> Reply:
    """Answer a request for pictures.

    A reply that the client has already, by its tag, is answered with 304 and never computed: a
    POST here only reads, so that the rule for GET (RFC 9110, section 13.1.2) is kept for it too.

    Raises:
        InvalidInput, QueueFull, DeadlineUnmeetable, NotReady, DeadlineExceeded, InferenceFailed.
    """
    given = isinstance(request, GenerateRequest) and request.latents is not None
    facts = await aside(given, _facts, model, request, conditions.form, config)
    headers = facts.headers() | _caching(model, facts, request, conditions)
    if matches(conditions.known_tags, headers.get("ETag")):
        return Reply(304, headers=headers)
    headers["Content-Type"] = conditions.form.media_type
    if conditions.head_only:
        return Reply(200, None, headers)
    progress.images = len(facts.plan)
    large = facts.plan.drawn_elements > DRAWN_INLINE_ELEMENTS
    rows = await aside(large, bind, facts.plan)
    progress.phases_s["decode"] = perf_counter() - progress.start
    timeout_s, priority = _urgency(request, conditions, config)
    answer = await model.infer("generate", rows, timeout_s=timeout_s, priority=priority)
    progress.phases_s |= {"queue": answer.queued_s, "run": answer.ran_s}
    pictures: Pixels = answer.rows[_image_output(facts.plan).name]
    encode_start = perf_counter()
    rendered = await _rendered(pictures, facts, answer.queued_s, answer.ran_s)
    progress.phases_s["encode"] = perf_counter() - encode_start
    headers["Content-Type"] = rendered.content_type
    headers["Server-Timing"] = _server_timing(progress)
    return Reply(200, rendered.body, headers)


def _facts(model: Model, request: GenerateQuery, form: Form, config: ServiceConfig) -> Facts:
    """The request fitted to the model, with everything checked that can be before inference."""
    manifest = model.manifest
    if "generate" not in manifest.tasks:
        tasks = ", ".join(manifest.tasks)
        raise InvalidInput(f"model {manifest.name!r} does not generate; it answers {tasks}")
    fitted = plan(manifest.graph("generate"), manifest.size, request, limit=config.max_images)
    errors = FieldErrors()
    if request.quality is not None and form.image not in LOSSY:
        errors.add("quality", f"is for jpeg and webp, not {form.image}: leave it out")
    if form.container == "image":
        rows, columns = grid_shape(len(fitted))
        side = max(rows * fitted.height, columns * fitted.width)
        if side > MAX_SIDE[form.image]:
            errors.add(
                "num_images",
                f"{len(fitted)} images make a picture of {side} pixels, and {form.image} holds "
                f"{MAX_SIDE[form.image]}: ask for fewer, or Accept: application/zip",
            )
    errors.raise_if_any()
    return Facts(manifest.name, manifest.version, fitted, form, request.quality or DEFAULT_QUALITY)


def _urgency(
    request: GenerateQuery, conditions: Conditions, config: ServiceConfig
) -> tuple[float, Priority]:
    """The shorter of the deadlines that were set, within the server's, and the priority."""
    body = request if isinstance(request, GenerateRequest) else GenerateRequest()
    set_s = [s for s in (body.timeout_s, conditions.timeout_s) if s is not None]
    longest_s = max(config.timeout_s, config.max_timeout_s)
    return (min(*set_s, longest_s) if set_s else config.timeout_s), body.priority or "interactive"


def _image_output(plan: Plan) -> ImageOutput:
    outputs = [entry for entry in plan.graph.outputs if isinstance(entry, ImageOutput)]
    assert outputs, "a bundle that generates has an image output"
    return outputs[0]


async def _rendered(pictures: Pixels, facts: Facts, queue_s: float, run_s: float) -> Rendered:
    count, height, width = pictures.shape[:3]
    large = count * height * width > ENCODED_INLINE_PIXELS
    return await aside(large, render, pictures, facts, queue_s, run_s)


async def aside(large: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` in a thread when it would hold up other requests, here when it would not."""
    if large:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)


def _caching(
    model: Model, facts: Facts, request: GenerateQuery, conditions: Conditions
) -> dict[str, str]:
    headers = {} if conditions.plain_url else {"Vary": "Accept"}
    if facts.plan.seed_was_drawn:
        return headers | {"Cache-Control": "no-store"}
    keep = PINNED if request.version is not None else UNPINNED
    cache_control = keep if conditions.plain_url else REVALIDATE
    return headers | {"Cache-Control": cache_control, "ETag": facts.etag(model.digest)}


def _server_timing(progress: Progress) -> str:
    return ", ".join(f"{name};dur={s * 1000:.3f}" for name, s in progress.phases_s.items())
