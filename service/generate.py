"""One request for pictures, from its parsed words to its reply.

The pictures are drawn (``/generate``), or start from one that was sent (``/translate``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from time import perf_counter
from typing import NamedTuple

from export.manifest import Graph, Manifest, Task
from service.batcher import Priority
from service.cache import ReplyCache
from service.config import ServiceConfig
from service.errors import DeadlineExceeded, InvalidInput
from service.fields import FieldErrors
from service.images import DEFAULT_QUALITY, LOSSY, MAX_SIDE, Picture, grid_shape
from service.making import Job, Progress, aside, make, stream
from service.metrics import Metrics
from service.model import RETRY_AFTER_S, Model
from service.negotiation import Form
from service.planning import plan
from service.replies import Facts, Multipart, Rendered, Reply, matches
from service.schemas import GenerateRequest, ImageRequest, ModelQuery, PicturesQuery, Urgency
from service.styles import require_told_latents, with_reference

PARSED_INLINE_BYTES = 2**14  # larger bodies are parsed in a thread

PINNED = "public, max-age=31536000, immutable"  # a bundle's version never changes
UNPINNED = "public, max-age=60"  # the default version may
REVALIDATE = "no-cache"  # for POST: nobody may reuse it unasked, and asking needs no inference


class Conditions(NamedTuple):
    """What HTTP adds to a request for pictures."""

    form: Form
    plain_url: bool = False  # GET: caches may keep the reply
    head_only: bool = False
    known_tags: str | None = None  # If-None-Match
    timeout_s: float | None = None  # X-Request-Timeout
    while_wanted: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    """Surrounds what takes long, and cancels it when the client goes away."""
    streamed: bool = True  # where the container allows it


def reply_cache(config: ServiceConfig, metrics: Metrics) -> ReplyCache[Rendered]:
    """A cache for one application, shown in its metrics."""
    cache: ReplyCache[Rendered] = ReplyCache(config.cache_bytes, metrics.look_up)
    metrics.cache_bytes.set_function(lambda: cache.nbytes)
    metrics.cache_limit_bytes.set(cache.limit_bytes)
    return cache


async def generate(
    model: Model,
    request: PicturesQuery,
    conditions: Conditions,
    config: ServiceConfig,
    progress: Progress,
    cache: ReplyCache[Rendered],
    picture: Picture | None = None,
    reference: Picture | None = None,
) -> Reply:
    """Answer a request for pictures; with ``picture``, translate that one.

    With ``reference``, the pictures get its style, which the model must be able to tell.

    A reply that the client has already, by its tag, is answered with 304 and never computed: a
    POST here only reads, so that the rule for GET (RFC 9110, section 13.1.2) is kept for it too.
    With a seed, a reply that was made before is sent again; its times are this request's own.

    Raises:
        InvalidInput, TooLarge: no model, or not this one, can answer it.
        QueueFull, DeadlineUnmeetable, NotReady, DeadlineExceeded, InferenceFailed.
    """
    given = isinstance(request, GenerateRequest) and request.latents is not None
    task: Task = "generate" if picture is None else "translate"
    form = conditions.form
    facts = await aside(given, _facts, task, model, request, form, config, picture, reference)
    headers = facts.headers() | caching(model, facts, request, conditions)
    if matches(conditions.known_tags, headers.get("ETag")):
        return Reply(304, headers=headers)
    headers["Content-Type"] = form.media_type
    if conditions.head_only:
        return Reply(200, None, headers)
    progress.images = len(facts.plan)
    progress.phases_s["decode"] = perf_counter() - progress.start
    key = headers.get("ETag")  # says all that the reply depends on, but for its times
    rendered = cache.find(key) if key else None
    if rendered is not None:
        progress.cache = "hit"
    else:
        async with conditions.while_wanted():
            timeout_s, priority = urgency(request, conditions, config)
            job = Job(task, model, facts, config, progress, progress.left_s(timeout_s), priority)
            if form.container == "multipart" and conditions.streamed:
                return await _streamed(key, job, headers, cache)
            rendered = await _make_or_wait(key, job, cache)
    headers["Content-Type"] = rendered.content_type
    headers["Server-Timing"] = server_timing(progress)
    return Reply(200, rendered.told(_timing(progress)), headers)


async def _streamed(
    key: str | None, job: Job, headers: dict[str, str], cache: ReplyCache[Rendered]
) -> Reply:
    """A reply whose images leave as they are ready, and which is kept when it was sent."""
    multipart = Multipart(job.facts)
    pieces = stream(job, multipart)
    first = await anext(pieces)
    kept_bytes = cache.limit_bytes if key else 0

    async def rest() -> AsyncGenerator[bytes]:
        sent, sent_bytes = [first], len(first)
        async with aclosing(pieces):
            async for piece in pieces:
                sent_bytes += len(piece)
                if sent_bytes <= kept_bytes:
                    sent.append(piece)
                else:
                    sent.clear()
                yield piece
        if key is not None and sent:
            cache.keep(key, Rendered(b"".join(sent), multipart.content_type))

    headers["Content-Type"] = multipart.content_type
    headers["Server-Timing"] = server_timing(job.progress)
    return Reply(200, first, headers, rest())


async def _make_or_wait(key: str | None, job: Job, cache: ReplyCache[Rendered]) -> Rendered:
    """Make the reply, unless another request with the same key does.

    Bulk makes its own: nobody interactive shall wait for one that waits for everybody.
    """
    timeout_s, progress = job.timeout_s, job.progress
    if key is None:
        return await make(job, timeout_s)
    if job.priority == "bulk":
        rendered = await make(job, timeout_s)
        cache.keep(key, rendered)
        return rendered
    start = perf_counter()

    async def make_it() -> Rendered:
        waited_s = perf_counter() - start  # for another request, which came to no reply
        rendered = await make(job, max(0.0, timeout_s - waited_s))
        progress.phases_s["queue"] += waited_s
        return rendered

    try:
        rendered, found = await cache.get(key, make_it, timeout_s=timeout_s)
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


def _facts(
    task: Task,
    model: Model,
    request: PicturesQuery,
    form: Form,
    config: ServiceConfig,
    picture: Picture | None,
    reference: Picture | None,
) -> Facts:
    """The request fitted to the model, with everything checked that can be before inference."""
    manifest = model.manifest
    graph = graph_for(task, manifest)
    words, limit = model.bundle.words.get(manifest.tasks[task]), config.max_images
    told = require_told_latents(manifest) if reference else ()
    fitted = plan(
        graph, manifest.size, request, limit=limit, picture=picture, words=words, told=told
    )
    if reference is not None:
        fit = request.fit if isinstance(request, ImageRequest) else None
        fitted = with_reference(fitted, manifest.graph("encode"), manifest.size, reference, fit)
    errors = FieldErrors()
    if request.quality is not None and form.image not in LOSSY:
        errors.add("quality", f"is for jpeg and webp, not {form.image}: leave it out")
    if form.container == "image":
        rows, columns = grid_shape(len(fitted))
        height, width = fitted.picture_size
        side = max(rows * height, columns * width)
        if side > MAX_SIDE[form.image]:
            errors.add(
                "num_images",
                f"{len(fitted)} images make a picture of {side} pixels, and {form.image} holds "
                f"{MAX_SIDE[form.image]}: ask for fewer, or Accept: application/zip",
            )
    errors.raise_if_any()
    return Facts(manifest.name, manifest.version, fitted, form, request.quality or DEFAULT_QUALITY)


def graph_for(task: Task, manifest: Manifest) -> Graph:
    """The graph that answers ``task``; InvalidInput when the model has none."""
    if task not in manifest.tasks:
        tasks = ", ".join(manifest.tasks)
        raise InvalidInput(f"model {manifest.name!r} does not {task}; it answers {tasks}")
    return manifest.graph(task)


def urgency(
    request: ModelQuery, conditions: Conditions, config: ServiceConfig
) -> tuple[float, Priority]:
    """The shorter of the deadlines that were set, within the server's, and the priority."""
    body = request if isinstance(request, Urgency) else Urgency()
    set_s = [s for s in (body.timeout_s, conditions.timeout_s) if s is not None]
    longest_s = max(config.timeout_s, config.max_timeout_s)
    return (min(*set_s, longest_s) if set_s else config.timeout_s), body.priority or "interactive"


def caching(
    model: Model, facts: Facts, request: ModelQuery, conditions: Conditions
) -> dict[str, str]:
    """The headers that say who may keep the reply, and under which tag."""
    headers = {} if conditions.plain_url else {"Vary": "Accept"}
    if facts.plan.seed_was_drawn:
        return headers | {"Cache-Control": "no-store"}
    keep = PINNED if request.version is not None else UNPINNED
    cache_control = keep if conditions.plain_url else REVALIDATE
    return headers | {"Cache-Control": cache_control, "ETag": facts.etag(model.digest)}


def _timing(progress: Progress) -> dict[str, float | bool]:
    """The members of ``schemas.Timing``."""
    spent_s = progress.phases_s
    told: dict[str, float | bool] = {
        f"{name}_s": spent_s.get(name, 0.0) for name in ("queue", "run", "encode")
    }
    return told | {"cached": progress.cache is not None}


def server_timing(progress: Progress) -> str:
    """The phases so far, as the header tells them."""
    told = [f"{name};dur={s * 1000:.3f}" for name, s in progress.phases_s.items()]
    if progress.cache:
        told.append(f'cache;desc="{progress.cache}"')
    return ", ".join(told)
