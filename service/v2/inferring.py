"""One V2 request, from its bytes to its reply."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

from export.manifest import Graph, ImageOutput, Manifest, Size, Task
from service.config import ServiceConfig
from service.errors import InvalidInput
from service.generate import PARSED_INLINE_BYTES, Conditions, graph_for, urgency
from service.making import Progress, aside
from service.model import Model
from service.negotiation import Form
from service.replies import Reply
from service.schemas import GenerateRequest
from service.v2.binding import bind, take
from service.v2.datatypes import tensor_type
from service.v2.parsing import Sent, parse_infer
from service.v2.rendering import render, wanted_outputs
from service.v2.schemas import (
    InferRequest,
    InputParameters,
    Parameters,
    RequestInput,
)

RENDERED_INLINE_NUMBERS = 2**12
RENDERED_INLINE_BYTES = 2**18
MAX_TIMEOUT_US = 2**64 - 1


@dataclass(frozen=True)
class Envelope:
    """A body, and what its headers say of it."""

    body: bytes
    header_length: str | None  # Inference-Header-Content-Length
    timeout_s: float | None  # X-Request-Timeout


async def infer(
    model: Model, envelope: Envelope, config: ServiceConfig, progress: Progress
) -> Reply:
    """Answer tensors with tensors.

    Raises:
        MalformedRequest, InvalidInput, TooLarge: the request.
        QueueFull, DeadlineUnmeetable, NotReady, DeadlineExceeded, InferenceFailed.
    """
    manifest, large = model.manifest, len(envelope.body) > PARSED_INLINE_BYTES
    sent = await aside(large, _read, manifest, envelope)
    request = sent.request
    task = request.parameters.task or default_task(manifest)
    graph = graph_for(task, manifest)
    wanted = wanted_outputs(graph, request)
    taken = await aside(large, take, graph, manifest.size, sent, config)
    conditions = Conditions(Form("json", "png"), timeout_s=envelope.timeout_s)
    timeout_s, priority = urgency(_urgency(request.parameters), conditions, config)

    def admit() -> None:
        expected = taken.expected(request.parameters)
        model.admit(task, expected, progress.left_s(timeout_s), priority)

    bound = await bind(taken, manifest.size, request.parameters, config, admit)
    if any(isinstance(output, ImageOutput) for output in graph.outputs):
        progress.images = len(bound.rows)
    progress.phases_s["decode"] = perf_counter() - progress.start
    left_s = progress.left_s(timeout_s)
    answer = await model.infer(task, bound.rows, timeout_s=left_s, priority=priority)
    progress.phases_s |= {"queue": answer.queued_s, "run": answer.ran_s}
    start = perf_counter()
    head = _head(manifest, request, bound.seed)
    numbers = sum(answer.rows[name].size for name, binary in wanted.items() if not binary)
    large = numbers > RENDERED_INLINE_NUMBERS or answer.rows.nbytes > RENDERED_INLINE_BYTES
    reply = await aside(large, render, head, graph, manifest.size, answer.rows, wanted)
    progress.phases_s["encode"] = perf_counter() - start
    return reply


def default_task(manifest: Manifest) -> Task:
    """The task of a request that names none, and of the metadata."""
    return "generate" if "generate" in manifest.tasks else next(iter(manifest.tasks))


def _read(manifest: Manifest, envelope: Envelope) -> Sent:
    if envelope.header_length != "0":
        return parse_infer(envelope.body, envelope.header_length)
    return _only_tensor(manifest.graph(default_task(manifest)), manifest.size, envelope.body)


def _only_tensor(graph: Graph, size: Size, body: bytes) -> Sent:
    """A body without JSON: one row of the graph's one input, answered in binary."""
    entry, *others = graph.inputs
    datatype, shape = tensor_type(entry, size)
    if others or None in shape:
        raise InvalidInput(
            "a body without JSON is for models with one input of one shape, and this has "
            f"{len(graph.inputs)} inputs: say which these bytes are, in JSON before them"
        )
    told = RequestInput(
        name=entry.name,
        shape=[1, *(side for side in shape if side is not None)],
        datatype=datatype,
        parameters=InputParameters(binary_data_size=len(body)),
    )
    request = InferRequest(inputs=[told], parameters=Parameters(binary_data_output=True))
    return Sent(request, {entry.name: memoryview(body)})


def _urgency(parameters: Parameters) -> GenerateRequest:
    """The protocol's timeout and priority as the other routes say them.

    Raises:
        InvalidInput: the timeout is more than the protocol's 64 bits.
    """
    if (parameters.timeout or 0) > MAX_TIMEOUT_US:
        raise InvalidInput(
            f"parameters.timeout is in microseconds, and at most {MAX_TIMEOUT_US}: send less, or "
            "leave it out"
        )
    return GenerateRequest.model_construct(
        timeout_s=parameters.timeout / 1e6 if parameters.timeout else None,
        priority="bulk" if (parameters.priority or 0) > 1 else "interactive",
    )


def _head(manifest: Manifest, request: InferRequest, seed: int | None) -> dict[str, Any]:
    head: dict[str, Any] = {
        "model_name": manifest.name,
        "model_version": str(manifest.version),
    }
    if request.id is not None:
        head["id"] = request.id
    if seed is not None:
        head["parameters"] = {"seed": seed}
    return head
