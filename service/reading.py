"""One request that starts from a picture: decoded, then translated, encoded or scored."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Literal

import numpy as np

from export.manifest import ANSWERS, Graph
from service.cache import ReplyCache
from service.config import ServiceConfig
from service.documents import EncodeReply, RunTiming, ScoreReply
from service.errors import InferenceFailed
from service.generate import (
    Conditions,
    Progress,
    aside,
    caching,
    filled,
    generate,
    graph_for,
    server_timing,
    urgency,
)
from service.images import Picture, UploadedFile, npy
from service.inputs import Floats
from service.model import Answer, Model
from service.planning import image_input, plan
from service.replies import Facts, Rendered, Reply, matches
from service.schemas import ReadRequest, TranslateRequest
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
    """Answer a picture with pictures.

    Raises:
        UnsupportedMedia, TooLarge: the picture.
        InvalidInput, and what else ``generate`` raises.
    """
    graph = graph_for("translate", model.manifest)
    picture = await _decoded(upload.file, graph, config)
    return await generate(model, upload.request, conditions, config, progress, cache, picture)


async def read(
    task: Reading,
    model: Model,
    upload: Upload[ReadRequest],
    conditions: Conditions,
    config: ServiceConfig,
    progress: Progress,
) -> Reply:
    """Answer a picture with its vector or its score.

    Raises:
        As ``translate`` does.
    """
    request, form = upload.request, conditions.form
    graph = graph_for(task, model.manifest)
    picture = await _decoded(upload.file, graph, config)
    fitted = plan(graph, model.manifest.size, request, limit=1, picture=picture)
    facts = Facts(model.manifest.name, model.manifest.version, fitted, form)
    headers = facts.headers() | caching(model, facts, request, conditions)
    if matches(conditions.known_tags, headers.get("ETag")):
        return Reply(304, headers=headers)
    rows = await filled(fitted, config)
    progress.phases_s["decode"] = perf_counter() - progress.start
    timeout_s, priority = urgency(request, conditions, config)
    answer = await model.infer(task, rows, timeout_s=timeout_s, priority=priority)
    progress.phases_s |= {"queue": answer.queued_s, "run": answer.ran_s}
    encode_start = perf_counter()
    numbers = _numbers(task, graph, answer)
    body = npy(numbers) if form.container == "npy" else _document(task, facts, numbers, answer)
    progress.phases_s["encode"] = perf_counter() - encode_start
    headers |= {"Content-Type": form.media_type, "Server-Timing": server_timing(progress)}
    return Reply(200, body, headers)


async def _decoded(file: bytes, graph: Graph, config: ServiceConfig) -> Picture:
    """The picture in the channels that the graph takes."""
    entry = image_input(graph)
    large = len(file) > READ_INLINE_BYTES
    header = await aside(large, UploadedFile, file, config.max_upload_pixels)
    large = large or header.pixels > DECODED_INLINE_PIXELS or header.has_profile
    return await aside(large, header.decode, entry.channels)


def _numbers(task: Reading, graph: Graph, answer: Answer) -> Floats:
    """The vector [*shape], or the score []."""
    kind = ANSWERS[task]
    output = next(output for output in graph.outputs if output.kind == kind)
    numbers: Floats = answer.rows[output.name][0]
    if not np.isfinite(numbers).all():
        raise InferenceFailed(f"the model's {kind} is not finite: tell who runs the service")
    return numbers


def _document(task: Reading, facts: Facts, numbers: Floats, answer: Answer) -> bytes:
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
        reply = ScoreReply(**said, score=float(numbers))
    return reply.model_dump_json().encode()
