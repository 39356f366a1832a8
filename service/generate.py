"""One request for pictures, from its parsed words to its reply."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import ParamSpec, TypeVar

from export.manifest import ImageOutput
from service.cache import ReplyCache
from service.config import ServiceConfig
from service.errors import DeadlineExceeded, InvalidInput
from service.fields import FieldErrors
from service.images import DEFAULT_QUALITY, LOSSY, MAX_SIDE, Pixels, estimate_s, grid_shape
from service.inputs import Plan, bind
from service.metrics import CacheResult, Metrics, Phase
from service.model import RETRY_AFTER_S, Model
from service.negotiation import Form
from service.planning import plan
from service.replies import Facts, Rendered, Reply, render
from service.schemas import GenerateQuery, GenerateRequest

# Above these the work leaves the event loop. A thread costs 0.05 ms when the machine is idle, more
# when it is not, and small pictures hold the interpreter lock for most of their time anyhow.
PARSED_INLINE_BYTES = 2**14
DRAWN_INLINE_ELEMENTS = 2**14
ENCODED_INLINE_S = 0.5e-3

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
    phases_s: dict[Phase, float] = field(default_factory=dict)
    cache: CacheResult | None = None  # how a reply that was not made for this request was found


@dataclass(frozen=True)
class Conditions:
    """What HTTP adds to a request for pictures."""

    form: Form
    plain_url: bool = False  # GET: caches may keep the reply
    head_only: bool = False
    known_tags: str | None = None  # If-None-Match
    while_wanted: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    """Surrounds what takes long, and cancels it when the client goes away."""


def reply_cache(config: ServiceConfig, metrics: Metrics) -> ReplyCache[Rendered]:
    """A cache for one application, shown in its metrics."""
    cache: ReplyCache[Rendered] = ReplyCache(config.cache_bytes, metrics.look_up)
    metrics.cache_bytes.set_function(lambda: cache.nbytes)
    metrics.cache_limit_bytes.set(cache.limit_bytes)
    return cache


async def generate(
    model: Model,
    request: GenerateQuery,
    conditions: Conditions,
    config: ServiceConfig,
    progress: Progress,
    cache: ReplyCache[Rendered],
) -> Reply:
    """Answer a request for pictures.

    A reply that the client has already, by its tag, is answered with 304 and never computed: a
    POST here only reads, so that the rule for GET (RFC 9110, section 13.1.2) is kept for it too.
    With a seed, a reply that was made before is sent again; its times are this request's own.

    Raises:
        InvalidInput, QueueFull, DeadlineUnmeetable, NotReady, DeadlineExceeded, InferenceFailed.
    """
    start = perf_counter()
    given = isinstance(request, GenerateRequest) and request.latents is not None
    facts = await aside(given, _facts, model, request, conditions.form, config)
    headers = facts.headers() | _caching(model, facts, request, conditions)
    if _matches(conditions.known_tags, headers.get("ETag")):
        return Reply(304, headers=headers)
    headers["Content-Type"] = conditions.form.media_type
    if conditions.head_only:
        return Reply(200, None, headers)
    progress.images = len(facts.plan)
    progress.phases_s["decode"] = perf_counter() - start
    key = headers.get("ETag")  # says all that the reply depends on, but for its times
    rendered = cache.find(key) if key else None
    if rendered is not None:
        progress.cache = "hit"
    else:
        async with conditions.while_wanted():
            rendered = await _make_or_wait(key, model, facts, config.timeout_s, progress, cache)
    headers["Content-Type"] = rendered.content_type
    headers["Server-Timing"] = _server_timing(progress)
    return Reply(200, rendered.told(_timing(progress)), headers)


async def _make_or_wait(
    key: str | None,
    model: Model,
    facts: Facts,
    timeout_s: float,
    progress: Progress,
    cache: ReplyCache[Rendered],
) -> Rendered:
    """Make the reply, unless another request with the same key does."""
    if key is None:
        return await _make(model, facts, timeout_s, progress)
    start = perf_counter()

    async def make() -> Rendered:
        waited_s = perf_counter() - start  # for another request, which came to no reply
        rendered = await _make(model, facts, timeout_s - waited_s, progress)
        progress.phases_s["queue"] += waited_s
        return rendered

    try:
        rendered, found = await cache.get(key, make, timeout_s=timeout_s)
    except TimeoutError:
        raise DeadlineExceeded(
            f"another request for the same was not answered within {timeout_s:g} s; come back "
            "later, ask for less, or allow more time",
            retry_after_s=RETRY_AFTER_S,
        ) from None
    if found != "miss":
        progress.phases_s["queue"] = perf_counter() - start
        progress.cache = found
    return rendered


async def _make(model: Model, facts: Facts, timeout_s: float, progress: Progress) -> Rendered:
    start = perf_counter()
    large = facts.plan.drawn_elements > DRAWN_INLINE_ELEMENTS
    rows = await aside(large, bind, facts.plan)
    progress.phases_s["decode"] += perf_counter() - start
    answer = await model.infer("generate", rows, timeout_s=timeout_s)
    progress.phases_s |= {"queue": answer.queued_s, "run": answer.ran_s}
    start = perf_counter()
    pictures: Pixels = answer.rows[_image_output(facts.plan).name]
    files = len(pictures) if facts.form.container in ("json", "zip", "multipart") else 1
    cost_s = estimate_s(facts.form.image, files, math.prod(pictures.shape[:3]))
    rendered = await aside(cost_s > ENCODED_INLINE_S, render, pictures, facts)
    progress.phases_s["encode"] = perf_counter() - start
    return rendered


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


def _image_output(plan: Plan) -> ImageOutput:
    outputs = [entry for entry in plan.graph.outputs if isinstance(entry, ImageOutput)]
    assert outputs, "a bundle that generates has an image output"
    return outputs[0]


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


def _matches(known_tags: str | None, etag: str | None) -> bool:
    """If-None-Match, compared weakly (RFC 9110, section 13.1.2)."""
    if known_tags is None or etag is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in known_tags.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


def _timing(progress: Progress) -> dict[str, float | bool]:
    """The members of ``schemas.Timing``."""
    spent_s = progress.phases_s
    told: dict[str, float | bool] = {
        f"{name}_s": spent_s.get(name, 0.0) for name in ("queue", "run", "encode")
    }
    return told | {"cached": progress.cache is not None}


def _server_timing(progress: Progress) -> str:
    told = [f"{name};dur={s * 1000:.3f}" for name, s in progress.phases_s.items()]
    if progress.cache:
        told.append(f'cache;desc="{progress.cache}"')
    return ", ".join(told)
