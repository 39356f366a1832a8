"""One request that starts from a picture: decoded, then translated, encoded or scored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np

from export.manifest import ANSWERS, Graph, Manifest, Task
from service.cache import ReplyCache
from service.config import ServiceConfig
from service.documents import EncodeReply, RunTiming, ScoreReply
from service.errors import InferenceFailed
from service.fields import FieldErrors
from service.fitting import fit_picture
from service.generate import Conditions, caching, generate, graph_for, server_timing, urgency
from service.images import Picture, UploadedFile, npy
from service.inputs import Expected, Floats
from service.making import Progress, aside, filled, require_bounded
from service.model import Answer, Model, takes_room
from service.planning import image_input, plan
from service.replies import Facts, Rendered, Reply, matches
from service.schemas import ReadRequest, TranslateRequest
from service.styles import require_told_latents
from service.uploads import Upload

Reading = Literal["encode", "score"]

# Above these the work leaves the event loop, as in ``generate``.
READ_INLINE_BYTES = 2**14
DECODED_INLINE_PIXELS = 2**12


async def translate(
    model: Model,
    upload: Upload[TranslateRequest],
    conditions: Conditions,
    config: ServiceConfig,
    progress: Progress,
    cache: ReplyCache[Rendered],
) -> Reply:
    """Answer a picture with pictures, in the style of a second one where that was sent.

    Raises:
        UnsupportedMedia, TooLarge: the picture.
        QueueFull, DeadlineUnmeetable, NotReady, DeadlineExceeded: told of a large picture before
            it is decoded.
        InvalidInput, and what else ``generate`` raises.
    """
    graph_for("translate", model.manifest)
    if upload.reference is not None:
        require_told_latents(model.manifest)
    ready = _decoded("translate", model, upload, conditions, config, progress)
    async with ready as (pictures, conditions):
        return await generate(model, upload.request, conditions, config, progress, cache, *pictures)


async def read(
    task: Reading,
    model: Model,
    upload: Upload[ReadRequest],
    conditions: Conditions,
    config: ServiceConfig,
    progress: Progress,
) -> Reply:
    """Answer a picture with its vector or its score; or, as an array, with the score's map.

    Raises:
        As ``translate`` does.
    """
    ready = _decoded(task, model, upload, conditions, config, progress)
    async with ready as ([picture], conditions):
        return await _answer(task, model, upload.request, picture, conditions, config, progress)


async def _answer(
    task: Reading,
    model: Model,
    request: ReadRequest,
    picture: Picture,
    conditions: Conditions,
    config: ServiceConfig,
    progress: Progress,
) -> Reply:
    form, graph = conditions.form, model.manifest.graph(task)
    fitted = plan(graph, model.manifest.size, request, limit=1, picture=picture)
    facts = Facts(model.manifest.name, model.manifest.version, fitted, form)
    headers = facts.headers() | caching(model, facts, request, conditions)
    if matches(conditions.known_tags, headers.get("ETag")):
        return Reply(304, headers=headers)
    rows = await filled(fitted, config)
    progress.phases_s["decode"] = perf_counter() - progress.start
    timeout_s, priority = urgency(request, conditions, config)
    left_s = progress.left_s(timeout_s)
    answer = await model.infer(task, rows, timeout_s=left_s, priority=priority)
    progress.phases_s |= {"queue": answer.queued_s, "run": answer.ran_s}
    encode_start = perf_counter()
    kind = "vector" if form.container == "npy" else ANSWERS[task]
    numbers = _numbers(kind, graph, answer)
    if form.container == "npy":
        body = npy(numbers)
        headers |= _told(_scores(graph, answer))
    else:
        body = _document(task, graph, facts, numbers, answer)
    progress.phases_s["encode"] = perf_counter() - encode_start
    headers |= {"Content-Type": form.media_type, "Server-Timing": server_timing(progress)}
    return Reply(200, body, headers)


@dataclass(frozen=True)
class _File:
    """A picture's file of which the header was read, and the graph that the picture is for."""

    task: Task
    header: UploadedFile
    channels: int
    nbytes: int
    large: bool
    """Whether it takes long to decode."""


@asynccontextmanager
async def _decoded(
    task: Task,
    model: Model,
    upload: Upload[TranslateRequest] | Upload[ReadRequest],
    conditions: Conditions,
    config: ServiceConfig,
    progress: Progress,
) -> AsyncIterator[tuple[list[Picture], Conditions]]:
    """The picture and its reference, if one was sent, and the conditions that they have to meet.

    A large one is not decoded to be refused: the model is asked first, by its header. Whoever names
    what it has (If-None-Match) may need no answer of the model, and is let through.
    """
    manifest, request = model.manifest, upload.request
    files = [await _opened(task, manifest, upload.file, "image", config)]
    if upload.reference is not None:
        files.append(await _opened("encode", manifest, upload.reference, "reference", config))
    timeout_s, priority = urgency(request, conditions, config)
    for each in files:
        if each.large and not conditions.known_tags:
            expected = _expected(each, manifest, request, config)
            if expected is not None:
                require_bounded(expected, config)
                model.admit(each.task, expected, progress.left_s(timeout_s), priority)
    # Together: were there room for one of them, two requests might wait for each other.
    pixels, nbytes = (sum(each.header.pixels for each in files), sum(each.nbytes for each in files))
    async with model.room_for(pixels, nbytes, progress.left_s(timeout_s), priority):
        pictures = [await aside(each.large, each.header.decode, each.channels) for each in files]
        # Room is given back with the reply: what takes it is whole by then, as those who read a
        # stream slowly would keep others out.
        yield pictures, conditions._replace(streamed=not takes_room(pixels))


async def _opened(
    task: Task, manifest: Manifest, file: bytes, field: str, config: ServiceConfig
) -> _File:
    """Read the header of a file that goes to the graph of ``task``."""
    entry = image_input(graph_for(task, manifest))
    large = len(file) > READ_INLINE_BYTES
    header = await aside(large, UploadedFile, file, config.max_upload_pixels, field)
    large = large or header.pixels > DECODED_INLINE_PIXELS or header.has_profile
    return _File(task, header, entry.channels, len(file), large)


def _expected(
    file: _File,
    manifest: Manifest,
    request: TranslateRequest | ReadRequest,
    config: ServiceConfig,
) -> Expected | None:
    """The rows that a picture will become, by its header; None if ``plan`` will refuse it.

    To be turned, as its EXIF data may ask, changes the number of neither its rows nor its pixels.
    """
    errors = FieldErrors()
    header = file.header
    fitting = fit_picture(manifest.size, header.height, header.width, request.fit, errors)
    if errors.any:
        return None
    count = request.num_images if isinstance(request, TranslateRequest) else None
    if isinstance(request.label, list):
        count = len(request.label)
    if file.task == "encode":
        count = 1
    return Expected(manifest.graph(file.task), *fitting.outer, min(count or 1, config.max_images))


def _numbers(kind: str, graph: Graph, answer: Answer) -> Floats:
    """The vector [*shape], or the score []."""
    output = next(output for output in graph.outputs if output.kind == kind)
    numbers: Floats = answer.rows[output.name][0]
    if not np.isfinite(numbers).all():
        raise InferenceFailed(f"the model's {kind} is not finite: tell who runs the service")
    return numbers


def _document(task: Reading, graph: Graph, facts: Facts, numbers: Floats, answer: Answer) -> bytes:
    said: dict[str, Any] = {
        "model": facts.model,
        "version": facts.version,
        "seed": facts.plan.seeds[0],
        "label": facts.plan.label_names[0],
        "parameters": facts.plan.scalars,
        "timing": RunTiming(queue_s=answer.queued_s, run_s=answer.ran_s),
    }
    reply: EncodeReply | ScoreReply
    if task == "encode":
        reply = EncodeReply(**said, shape=list(numbers.shape), vector=numbers.tolist())
    else:
        reply = ScoreReply(**said, score=float(numbers), scores=_scores(graph, answer))
    return reply.model_dump_json().encode()


def _scores(graph: Graph, answer: Answer) -> dict[str, float]:
    names = [output.name for output in graph.outputs if output.kind == "score"]
    return {name: float(answer.rows[name][0]) for name in names}


def _told(scores: dict[str, float]) -> dict[str, str]:
    """Scores as a header, beside an array that has no place for them."""
    told = ", ".join(f"{name}={value:.6g}" for name, value in scores.items())
    return {"Ganymede-Scores": told} if scores else {}
