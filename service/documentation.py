"""What the OpenAPI document says of each route, from the schemas and the error tree.

``python -m service.openapi`` writes the whole document.
"""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.admin_documentation import ADMIN_OPERATIONS, ADMIN_SCHEMAS
from service.documents import (
    EncodeReply,
    GenerateReply,
    Health,
    ModelCard,
    ModelList,
    ModelPage,
    Problem,
    ScoreReply,
)
from service.errors import (
    InvalidInput,
    MalformedRequest,
    NotAcceptable,
    NotReady,
    RequestTimeout,
    TooLarge,
    UnknownModel,
    UnsupportedMedia,
)
from service.images import MEDIA_TYPES
from service.openai import documentation as openai
from service.responses import (
    BINARY,
    BUSY,
    REFERENCE,
    Responses,
    answers,
    reference,
    refusals,
    sends,
)
from service.schemas import GenerateQuery, GenerateRequest, ReadRequest, TranslateRequest
from service.security import REFUSALS, SCHEMES, secured
from service.v2 import documentation as v2

_SCHEMAS: tuple[type[BaseModel], ...] = (
    *ADMIN_SCHEMAS,
    EncodeReply,
    GenerateReply,
    GenerateRequest,
    Health,
    ModelCard,
    ModelList,
    ModelPage,
    Problem,
    ReadRequest,
    ScoreReply,
    TranslateRequest,
    *openai.SCHEMAS,
    *v2.SCHEMAS,
)
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel, as the example of a picture."""
_PICTURE_HEADERS = {
    "ETag": "names the pictures; sent back as If-None-Match it is answered with 304, uncomputed",
    "Cache-Control": "no-store when the seed was drawn here",
    "Server-Timing": "decode, queue, run, encode, in ms; cache: made for another request",
    "Ganymede-Model": "the model that answered",
    "Ganymede-Version": "its version",
    "Ganymede-Seed": "the request's seed",
    "Ganymede-Seeds": "the seed of each image; absent when latents were given or interpolated",
    "Ganymede-Labels": "the class of each image, percent-encoded",
    "Ganymede-Unknown-Words": "words of the text that the model does not know, percent-encoded",
}


def document(paths: dict[str, Any], root_path: str = "") -> str:
    """The whole OpenAPI document as JSON.

    Args:
        paths: the document that the web framework makes of the routes.
        root_path: where clients find the service.
    """
    for methods in paths["paths"].values():
        for described in methods.values():
            refused = described["responses"].get("422", {})
            if "application/json" in refused.get("content", {}):  # the framework's own, never sent
                del described["responses"]["422"]
    whole = paths | {"paths": secured(paths["paths"], refusals(*REFUSALS))}
    whole["components"] = {"schemas": _components(), "securitySchemes": SCHEMES}
    tags = ("pictures", "models", "v2", "openai", "operation", "administration")
    whole["tags"] = [{"name": name} for name in tags]
    whole["servers"] = [{"url": root_path or "/"}]
    return json.dumps(whole, indent=1) + "\n"


def _components() -> dict[str, Any]:
    """Every schema that a reference may name."""
    _, document = models_json_schema(
        [(schema, "validation") for schema in _SCHEMAS], ref_template=REFERENCE
    )
    return dict(document["$defs"])


def _pictures(*containers: str) -> Responses:
    """The replies that carry pictures: JSON among the containers, or files only."""
    content = {kind: BINARY for kind in (*containers, *MEDIA_TYPES.values())}
    if "application/json" in content:
        content["application/json"] = {"schema": reference(GenerateReply)}
    else:
        del content["application/x-npy"]
    headers = {name: _header(text) for name, text in _PICTURE_HEADERS.items()}
    found = {"description": "The pictures.", "content": content, "headers": headers}
    return {200: found, 304: {"description": "The pictures that If-None-Match names."}}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _numbers(schema: type[BaseModel], *files: str, **headers: str) -> Responses:
    """The replies that say something of a picture, as JSON or as a file."""
    found = _pictures(*files)
    json_content = {"application/json": {"schema": reference(schema)}}
    found[200]["content"] = json_content | {kind: BINARY for kind in files}
    found[200]["description"] = "What the model says of the picture."
    found[200]["headers"] |= {name: _header(text) for name, text in headers.items()}
    found[304]["description"] = "The answer that If-None-Match names."
    return found


def _request_body() -> dict[str, Any]:
    """The body of ``POST /generate``, with examples."""
    examples = {
        "one": {"value": {"seed": 7}},
        "sixteen of a class": {"value": {"num_images": 16, "label": 0, "seed": 7}},
        "between two seeds": {"value": {"interpolate": {"from": 7, "to": 8, "steps": 8}}},
    }
    content = {"schema": reference(GenerateRequest), "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _query_parameters(
    schema: type[BaseModel] = GenerateQuery, *, only: Container[str] | None = None
) -> list[dict[str, Any]]:
    """The query of a URL, or some of it, from the schema that reads it; never a picture."""
    parameters = []
    for name, described in _form_properties(schema).items():
        if name == "image" or (only is not None and name not in only):
            continue
        text = described.pop("description")
        parameters.append({"name": name, "in": "query", "description": text, "schema": described})
    return parameters


def _form_properties(schema: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The fields of a schema where each is a text or a file: no null, and lists by repetition."""
    found = {}
    for name, described in schema.model_json_schema()["properties"].items():
        kinds = [kind for kind in described["anyOf"] if kind != {"type": "null"}]
        one = kinds[0] if len(kinds) == 1 else {"type": "array", "items": {"type": "string"}}
        found[name] = {"description": described["description"], **one}
    return found


_TIMEOUT = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "seconds after which no answer is wanted",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def _upload(schema: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The three kinds of body that bring a picture, and the query that goes with the second."""
    properties = _form_properties(schema)
    properties["image"] |= {"format": "binary"}
    form = {"type": "object", "properties": properties, "required": ["image"]}
    content = {
        "multipart/form-data": {"schema": form},
        "image/*": BINARY,
        "application/json": {"schema": reference(schema), "example": example},
    }
    parameters = _query_parameters(schema)
    for parameter in parameters:
        parameter["description"] += " (here only when the body is the picture itself)"
    return {
        "requestBody": {"required": True, "content": content},
        "parameters": [*parameters, _TIMEOUT],
    }


_READING = (MalformedRequest, NotAcceptable, RequestTimeout, TooLarge, UnsupportedMedia)
_OPERATIONS: dict[str, dict[str, Any]] = {
    "generate_images": {
        "summary": "Generate pictures",
        "tags": ["pictures"],
        "openapi_extra": _request_body() | {"parameters": [_TIMEOUT]},
        "responses": _pictures("application/json", "application/zip", "multipart/mixed")
        | refusals(UnknownModel, InvalidInput, *_READING, *BUSY),
    },
    "generate_file": {
        "summary": "Generate pictures by a plain URL",
        "tags": ["pictures"],
        "openapi_extra": {"parameters": [*_query_parameters(), _TIMEOUT]},
        "responses": _pictures() | refusals(UnknownModel, TooLarge, InvalidInput, *BUSY),
    },
    "translate_image": {
        "summary": "Make pictures from a picture",
        "tags": ["pictures"],
        "openapi_extra": _upload(TranslateRequest, {"image": PIXEL, "seed": 7}),
        "responses": _pictures("application/json", "application/zip", "multipart/mixed")
        | refusals(UnknownModel, InvalidInput, *_READING, *BUSY),
    },
    "encode_image": {
        "summary": "Tell the vector of a picture",
        "tags": ["pictures"],
        "openapi_extra": _upload(ReadRequest, {"image": PIXEL}),
        "responses": _numbers(EncodeReply, MEDIA_TYPES["npy"])
        | refusals(UnknownModel, InvalidInput, *_READING, *BUSY),
    },
    "score_image": {
        "summary": "Tell the score of a picture",
        "tags": ["pictures"],
        "openapi_extra": _upload(ReadRequest, {"image": PIXEL}),
        "responses": _numbers(
            ScoreReply, MEDIA_TYPES["npy"], **{"Ganymede-Scores": "beside an array: all, by name"}
        )
        | refusals(UnknownModel, InvalidInput, *_READING, *BUSY),
    },
    "list_models": {
        "summary": "List the models",
        "tags": ["models"],
        "responses": answers(ModelList),
    },
    "show_model": {
        "summary": "Show a model",
        "tags": ["models"],
        "openapi_extra": {"parameters": _query_parameters(only={"version"})},
        "responses": answers(ModelPage, UnknownModel, InvalidInput, NotReady),
    },
    "show_preview": {
        "summary": "Show a model's preview",
        "tags": ["models"],
        "openapi_extra": {"parameters": _query_parameters(only={"version"})},
        "responses": sends("image/png", UnknownModel, InvalidInput, NotReady),
    },
    "show_live": {
        "summary": "Is the process alive?",
        "tags": ["operation"],
        "responses": answers(Health),
    },
    "show_ready": {
        "summary": "Are requests accepted?",
        "tags": ["operation"],
        "responses": answers(Health, NotReady),
    },
    "show_metrics": {
        "summary": "Metrics for Prometheus",
        "tags": ["operation"],
        "responses": sends("text/plain"),
    },
} | v2.OPERATIONS


def operation(name: str) -> dict[str, Any]:
    """What the web framework is told of a route; pages for people are not in the document."""
    others = openai.OPERATIONS | ADMIN_OPERATIONS
    described = _OPERATIONS.get(name) or others.get(name)
    if described is None:
        return {"include_in_schema": False}
    return {"operation_id": name, **described}
