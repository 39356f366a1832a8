"""How the OpenAPI document tells what a route answers: the parts that all its surfaces share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from service.documents import Problem
from service.errors import (
    DeadlineExceeded,
    DeadlineUnmeetable,
    InferenceFailed,
    NotReady,
    QueueFull,
    ServiceError,
)

Responses = dict[int | str, dict[str, Any]]

REFERENCE = "#/components/schemas/{model}"
BUSY = (QueueFull, DeadlineUnmeetable, InferenceFailed, NotReady, DeadlineExceeded)
"""How a route that asks a model may end, whatever it was asked for."""
BINARY = {"schema": {"type": "string", "format": "binary"}}


def reference(schema: type[BaseModel]) -> dict[str, str]:
    """A reference to a schema in the document's components."""
    return {"$ref": REFERENCE.format(model=schema.__name__)}


def answers(schema: type[BaseModel], *errors: type[ServiceError]) -> Responses:
    """JSON of one schema, or one of the refusals."""
    content = {"application/json": {"schema": reference(schema)}}
    return {200: {"description": "OK", "content": content}} | refusals(*errors)


def sends(media_type: str, *errors: type[ServiceError]) -> Responses:
    """A file of one type, or one of the refusals."""
    return {200: {"description": "OK", "content": {media_type: BINARY}}} | refusals(*errors)


def refusals(*errors: type[ServiceError]) -> Responses:
    """The problem documents of a route, by status."""
    by_status: dict[int, list[type[ServiceError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    found: Responses = {}
    for status in sorted(by_status):
        said = [f"{error.__name__}: {error.__doc__}" for error in by_status[status]]
        content = {"application/problem+json": {"schema": reference(Problem)}}
        found[status] = {"description": " ".join(said), "content": content}
        if status in (429, 503, 504):
            seconds = {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}
            found[status]["headers"] = {"Retry-After": seconds}
    return found
