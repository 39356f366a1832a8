"""What the OpenAPI document says of the V2 routes; ``service.documentation`` takes it in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from service.errors import (
    ChangeRefused,
    MalformedRequest,
    NotReady,
    RequestTimeout,
    ServiceError,
    StateNotKept,
    StillChanging,
    TooLarge,
    UnknownModel,
    UnsupportedMedia,
)
from service.responses import BUSY
from service.v2.documents import (
    IndexEntry,
    InferResponse,
    V2Config,
    V2Error,
    V2Live,
    V2Model,
    V2ModelReady,
    V2Ready,
    V2Server,
    V2Statistics,
)
from service.v2.schemas import ControlRequest, IndexRequest, InferRequest

SCHEMAS: tuple[type[BaseModel], ...] = (
    ControlRequest,
    IndexEntry,
    IndexRequest,
    InferRequest,
    InferResponse,
    V2Config,
    V2Error,
    V2Live,
    V2Model,
    V2ModelReady,
    V2Ready,
    V2Server,
    V2Statistics,
)
_BINARY = {"type": "string", "format": "binary"}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_VERSION = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
}
_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "bytes of the JSON, when binary tensors follow it; 0 is a body without JSON, "
    "for models with one input",
    "schema": {"type": "integer", "minimum": 0},
}
_TIMEOUT = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "seconds after which no answer is wanted",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def _reference(schema: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema.__name__}"}


def _described(
    summary: str, schema: dict[str, Any], *errors: type[ServiceError], **extra: object
) -> dict[str, Any]:
    """A route that answers JSON, or one of the refusals."""
    ok = {"description": "OK", "content": {"application/json": {"schema": schema}}}
    return {
        "summary": summary,
        "tags": ["v2"],
        "responses": {200: ok} | _refusals(*errors),
        "openapi_extra": extra,
    }


def _refusals(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, by status."""
    found: dict[int | str, dict[str, Any]] = {}
    for error in sorted(errors, key=lambda each: each.status):
        said = found.setdefault(error.status, {"description": ""})
        said["description"] += f"{' ' if said['description'] else ''}{error.__doc__}"
        said["content"] = {"application/json": {"schema": _reference(V2Error)}}
        if error.status in (429, 503, 504):
            seconds = {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}
            said["headers"] = {"Retry-After": seconds}
    return found


def _infer() -> dict[str, Any]:
    """The route that answers tensors."""
    zeros = {"name": "label", "shape": [2], "datatype": "INT64", "data": [0, 1]}
    examples = {
        "drawn from a seed": {"value": {"parameters": {"seed": 7}, "inputs": []}},
        "classes given, the rest drawn": {"value": {"parameters": {"seed": 7}, "inputs": [zeros]}},
    }
    content = {
        "application/json": {"schema": _reference(InferRequest), "examples": examples},
        "application/octet-stream": {"schema": _BINARY},
    }
    described = _described(
        "Answer tensors with tensors",
        _reference(InferResponse),
        *(MalformedRequest, UnknownModel, RequestTimeout, TooLarge, UnsupportedMedia),
        *BUSY,
        requestBody={"required": True, "content": content},
        parameters=[_LENGTH, _TIMEOUT],
    )
    described["responses"][200]["content"]["application/octet-stream"] = {"schema": _BINARY}
    described["responses"][200]["headers"] = {
        "Inference-Header-Content-Length": {
            "description": "bytes of the JSON (an InferResponse), when binary tensors follow it",
            "schema": {"type": "integer"},
        }
    }
    return described


def _control(summary: str) -> dict[str, Any]:
    """A route that changes what serves."""
    described = _described(
        summary,
        {},
        *(MalformedRequest, UnknownModel, RequestTimeout, ChangeRefused, TooLarge),
        *(StateNotKept, NotReady, StillChanging),
        requestBody={"content": {"application/json": {"schema": _reference(ControlRequest)}}},
    )
    described["responses"][200] = {"description": "Every request that comes now meets it."}
    return described


def _twice(name: str, described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A route about a model, and the one that pins its version."""
    extra = described["openapi_extra"]
    more = extra.get("parameters", [])
    for suffix, said, path in (("", "", [_NAME]), ("_of_version", ", pinned", [_NAME, _VERSION])):
        parameters = {"parameters": [*path, *more]}
        summary = described["summary"] + said
        told = described | {"summary": summary, "openapi_extra": extra | parameters}
        yield name + suffix, told


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    known = (UnknownModel, NotReady)
    yield "v2_show_server", _described("Show the server", _reference(V2Server))
    yield "v2_show_live", _described("Is the process alive?", _reference(V2Live))
    ready = _described("Are requests accepted?", _reference(V2Ready), NotReady)
    yield "v2_show_ready", ready
    statistics = _reference(V2Statistics)
    yield "v2_show_all_statistics", _described("Statistics of all models", statistics)
    yield (
        "v2_list_repository",
        _described(
            "List what lies in the folders",
            {"type": "array", "items": _reference(IndexEntry)},
            *(MalformedRequest, RequestTimeout, TooLarge),
            requestBody={"content": {"application/json": {"schema": _reference(IndexRequest)}}},
        ),
    )
    for name, summary in (("load", "Serve a model"), ("unload", "Serve a model no more")):
        yield f"v2_{name}_model", _control(summary)
    for name, summary, schema in (
        ("v2_show_model", "Show a model's tensors", V2Model),
        ("v2_show_model_ready", "Is a model ready?", V2ModelReady),
        ("v2_show_config", "Show a model's configuration", V2Config),
        ("v2_show_statistics", "Statistics of a model", V2Statistics),
    ):
        yield from _twice(name, _described(summary, _reference(schema), *known))
    yield from _twice("v2_infer", _infer())


OPERATIONS: dict[str, dict[str, Any]] = dict(_operations())
