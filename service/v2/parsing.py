"""From the bytes of a V2 request to what it says: JSON, and the binary tensors behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from service.errors import InvalidInput, MalformedRequest
from service.fields import NAME_SHOWN
from service.v2.schemas import InferRequest, RequestInput

Schema = TypeVar("Schema", bound=BaseModel)
_LENGTH = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, eq=False)
class Sent:
    """A request as it came; ``binary`` has the bytes of those inputs that came so, by name."""

    request: InferRequest
    binary: dict[str, memoryview]


def parse_infer(body: bytes, header_length: str | None) -> Sent:
    """Read a body.

    Args:
        body: JSON, and the binary tensors behind it.
        header_length: ``Inference-Header-Content-Length``, the bytes of the JSON; all when None.

    Raises:
        MalformedRequest, InvalidInput: tells what to change.
    """
    json_bytes = len(body)
    if header_length is not None:
        if not _LENGTH.fullmatch(header_length) or int(header_length) > len(body):
            raise MalformedRequest(
                f"Inference-Header-Content-Length must be the bytes of the JSON, 0 to {len(body)}"
            )
        json_bytes = int(header_length)
    request = parse_document(InferRequest, body[:json_bytes])
    _refuse_twice("inputs", [entry.name for entry in request.inputs])
    _refuse_twice("outputs", [entry.name for entry in request.outputs])
    return Sent(request, _cut(memoryview(body)[json_bytes:], request.inputs))


def parse_document(schema: type[Schema], body: bytes) -> Schema:
    """Read a body that is JSON.

    Raises:
        MalformedRequest, InvalidInput: tells the first member that is wrong.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        reason = details[0]["ctx"]["error"]
        raise MalformedRequest(f"the body is not JSON: {reason}; send one JSON object")
    path = _path(details[0]["loc"])
    reasons = {detail["msg"]: None for detail in details if _path(detail["loc"]) == path}
    raise InvalidInput(f"{path}: {' or '.join(reasons)}")


def _path(location: Sequence[str | int]) -> str:
    """``inputs[0].shape``; pydantic's names of union members, below a parameter, are left out."""
    kept = location[:2] if location[:1] == ("parameters",) else location
    parts = (f"[{part}]" if isinstance(part, int) else f".{part[:NAME_SHOWN]}" for part in kept)
    return "".join(parts).removeprefix(".") or "body"


def _refuse_twice(where: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"{where}: {name[:NAME_SHOWN]!r} is listed twice; list it once")


def _cut(rest: memoryview, inputs: list[RequestInput]) -> dict[str, memoryview]:
    """What lies behind the JSON, by input."""
    found = {}
    for entry in inputs:
        _refuse_shared_memory(entry)
        size_bytes = entry.parameters.binary_data_size
        name = repr(entry.name[:NAME_SHOWN])
        if (size_bytes is None) == (entry.data is None):
            raise InvalidInput(
                f"input {name} needs its numbers once: as data, or behind the JSON with their "
                "binary_data_size"
            )
        if size_bytes is None:
            continue
        if size_bytes > len(rest):
            raise MalformedRequest(
                f"input {name} has {size_bytes} bytes by its binary_data_size, and {len(rest)} "
                "are left behind the JSON (its length is in Inference-Header-Content-Length)"
            )
        found[entry.name], rest = rest[:size_bytes], rest[size_bytes:]
    if len(rest):
        raise MalformedRequest(
            f"{len(rest)} bytes behind the JSON belong to no input: give each input that comes "
            "as binary data its binary_data_size"
        )
    return found


def _refuse_shared_memory(entry: RequestInput) -> None:
    if "shared_memory_region" in (entry.parameters.model_extra or {}):
        raise InvalidInput(
            f"input {entry.name[:NAME_SHOWN]!r} is in shared memory, which is not offered here: "
            "send its data"
        )
