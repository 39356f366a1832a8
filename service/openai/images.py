"""From a prompt to a request as ``/generate`` takes it, and from its reply to one of ``/v1``."""

from __future__ import annotations

import time

import orjson

from export.manifest import Graph, Manifest
from service.fields import FieldErrors
from service.generate import graph_for
from service.openai.schemas import ImagesRequest
from service.replies import Reply
from service.schemas import GenerateRequest

RENDERED_INLINE_BYTES = 2**18

_OWN_HEADERS = ("ETag", "Vary")  # the reply tells a time, and has one form


def has_prompts(manifest: Manifest) -> bool:
    """Whether a prompt can say what a model is to make."""
    task = manifest.tasks.get("generate")
    return task is not None and _field(manifest.graphs[task]) is not None


def _field(graph: Graph) -> str | None:
    """The field of ``/generate`` that a prompt is: a text where one is read, else a class."""
    return "text" if graph.text else "label" if graph.label else None


def understand(asked: ImagesRequest, manifest: Manifest) -> GenerateRequest:
    """The same as a request to ``/generate``; whether it fits the model is judged there.

    Raises:
        InvalidInput: it asks for something that is not offered here, or this model takes no prompt.
    """
    errors = FieldErrors()
    graph = graph_for("generate", manifest)
    field = _field(graph)
    if field is None:
        errors.add(
            "prompt",
            f"model {manifest.name!r} has no classes and reads no text: ask it with POST /generate "
            "instead",
        )
    _refuse_what_is_not_offered(asked, manifest.name, errors)
    scalars = asked.extensions
    for name in scalars.keys() & GenerateRequest.model_fields.keys() - graph.scalars.keys():
        errors.add_unknown(name, sorted({*ImagesRequest.model_fields, *graph.scalars}))
    errors.raise_if_any()
    width, _, height = (asked.size or "auto").partition("x")
    return GenerateRequest.model_construct(
        text=asked.prompt if field == "text" else None,
        label=asked.prompt if field == "label" else None,
        num_images=asked.n,
        height=int(height) if height else None,
        width=int(width) if height else None,
        format=asked.output_format,
        quality=_quality(asked),
        seed=asked.seed,
        version=asked.version,
        **scalars,
    )


def _refuse_what_is_not_offered(asked: ImagesRequest, name: str, errors: FieldErrors) -> None:
    if asked.response_format == "url":
        errors.add(
            "response_format",
            "no picture is kept here to be linked to: say b64_json, or link to "
            f"GET /generate/{name}.png?label=...&seed=...",
        )
    if asked.background == "transparent":
        errors.add("background", "the pictures are opaque: say opaque or auto")
    if asked.stream:
        errors.add("stream", "pictures come whole: leave it out")
    if asked.partial_images:
        errors.add("partial_images", "pictures come whole: leave it out")
    if asked.output_format in (None, "png") and asked.output_compression not in (None, 100):
        errors.add("output_compression", "is for jpeg and webp; png takes 100 alone: leave it out")


def _quality(asked: ImagesRequest) -> int | None:
    """As the encoders take it, from 1 on."""
    if asked.output_format in (None, "png") or asked.output_compression is None:
        return None
    return max(1, asked.output_compression)


def render(reply: Reply) -> Reply:
    """A JSON reply of ``/generate`` in the shape of ``documents.OpenAIImages``."""
    assert reply.body is not None
    told = orjson.loads(reply.body)
    images = [
        {"b64_json": each["data"], "revised_prompt": each["label"], "seed": each["seed"]}
        for each in told["images"]
    ]
    document = {
        "created": int(time.time()),
        "output_format": told["format"],
        "size": f"{told['width']}x{told['height']}",
        "data": images,
    }
    headers = {name: value for name, value in reply.headers.items() if name not in _OWN_HEADERS}
    return Reply(reply.status, orjson.dumps(document), headers)
