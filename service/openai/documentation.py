"""What the OpenAPI document says of the ``/v1`` routes; ``service.documentation`` takes it in."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from service.errors import (
    MalformedRequest,
    NotReady,
    RequestTimeout,
    ServiceError,
    TooLarge,
    Unauthorized,
    UnknownModel,
    UnsupportedMedia,
)
from service.openai.documents import OpenAIError, OpenAIImages, OpenAIModel, OpenAIModels
from service.openai.schemas import ImagesRequest
from service.responses import BUSY, Responses, answers, reference

SCHEMAS: tuple[type[BaseModel], ...] = (
    ImagesRequest,
    OpenAIError,
    OpenAIImages,
    OpenAIModel,
    OpenAIModels,
)
_TIMEOUT = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "seconds after which no answer is wanted",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def _answers(schema: type[BaseModel], *errors: type[ServiceError]) -> Responses:
    """JSON of one schema, or one of the refusals, in OpenAI's shape."""
    found = answers(schema, *errors)
    for status, said in found.items():
        if int(status) >= 400:
            said["content"] = {"application/json": {"schema": reference(OpenAIError)}}
    return found


_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": reference(ImagesRequest),
            "examples": {
                "one": {"value": {"prompt": "0"}},
                "four, again and again the same": {"value": {"prompt": "0", "n": 4, "seed": 7}},
            },
        }
    },
}
OPERATIONS: dict[str, dict[str, Any]] = {
    "openai_generate_images": {
        "summary": "Generate pictures of a class or a text, as OpenAI's clients ask for it",
        "tags": ["openai"],
        "openapi_extra": {"requestBody": _BODY, "parameters": [_TIMEOUT]},
        "responses": _answers(
            OpenAIImages,
            *(MalformedRequest, UnknownModel, RequestTimeout, TooLarge, UnsupportedMedia),
            *BUSY,
        ),
    },
    "openai_list_models": {
        "summary": "List the models that take a prompt",
        "tags": ["openai"],
        "responses": _answers(OpenAIModels, Unauthorized),
    },
    "openai_show_model": {
        "summary": "Show a model that takes a prompt",
        "tags": ["openai"],
        "responses": _answers(OpenAIModel, UnknownModel, NotReady),
    },
}
