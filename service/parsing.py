"""From bytes and query strings to the schemas, with errors that say what to change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.errors import MalformedRequest, ServiceError, UnsupportedMedia
from service.fields import NAME_SHOWN, FieldErrors
from service.schemas import GenerateQuery, GenerateRequest

Schema = TypeVar("Schema", bound=BaseModel)
Pairs = Iterable[tuple[str, str]]

# Never numbers, even if they look so.
_TEXTS = frozenset({"model", "format", "fit", "priority", "text", "reference"})
_INTEGER = re.compile(r"-?[0-9]{1,4000}")  # int() itself refuses more than 4300
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?")

# pydantic's names of what is wrong -> what to change; the rest is said in pydantic's own words.
_ADVICE = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "extra_forbidden": "there is no such field here; leave it out",
    "missing": "is missing; add it",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def media_type_of(content_type: str | None, content_encoding: str | None = None) -> str:
    """What a body says that it is.

    Raises:
        UnsupportedMedia: it says that it is compressed, or JSON in another charset than UTF-8.
    """
    if (content_encoding or "identity").lower() != "identity":
        raise UnsupportedMedia(
            f"the body is encoded as {(content_encoding or '')[:NAME_SHOWN]}: send it without "
            "Content-Encoding"
        )
    media_type, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    for parameter in parameters if media_type == "application/json" else ():
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') != "utf-8":
            raise UnsupportedMedia(
                f"the body is in {value[:NAME_SHOWN]}: send JSON in UTF-8, as JSON is",
                supported=["application/json"],
            )
    return media_type


def require_json(content_type: str | None, content_encoding: str | None = None) -> None:
    """Raise UnsupportedMedia unless the body says that it is JSON, and not compressed."""
    media_type = media_type_of(content_type, content_encoding)
    if media_type != "application/json":
        raise UnsupportedMedia(
            f"the body is {media_type[:NAME_SHOWN] or 'of no declared type'}: send JSON with "
            "Content-Type: application/json",
            supported=["application/json"],
        )


def parse_body(body: bytes) -> GenerateRequest:
    """Read the body of ``POST /generate``, as ``parse_json`` does."""
    return parse_json(GenerateRequest, body)


def parse_json(schema: type[Schema], body: bytes) -> Schema:
    """Read a body that is JSON.

    Raises:
        MalformedRequest: it is not JSON; the detail tells the line and the column.
        InvalidInput: it is JSON, and says something that no model can answer.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise _explained(error) from None


def parse_query(pairs: Pairs) -> GenerateQuery:
    """Read the query of a plain URL, as ``parse_pairs`` does."""
    return parse_pairs(GenerateQuery, pairs)


def parse_pairs(schema: type[Schema], pairs: Pairs) -> Schema:
    """Read names and texts: numbers are numbers, ``label`` may come several times.

    Raises:
        InvalidInput: a value that no model can answer, or a field that came twice.
    """
    values: dict[str, Any] = {}
    errors = FieldErrors()
    for name, text in pairs:
        if name == "label":
            values.setdefault("label", []).append(text)
        elif name in values:
            errors.add(name, "is given twice; give it once")
        else:
            values[name] = text if name in _TEXTS else _number_or_text(text)
    errors.raise_if_any()
    if len(values.get("label", ())) == 1:
        values["label"] = values["label"][0]
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _explained(error) from None


def parse_version(pairs: Pairs) -> int | None:
    """Read ``version`` of a query, of which nothing else matters.

    Raises:
        InvalidInput: it is no version, or came twice.
    """
    return parse_query(pair for pair in pairs if pair[0] == "version").version


def parse_timeout(text: str | None) -> float | None:
    """Read ``X-Request-Timeout``: the seconds that the client waits.

    Raises:
        InvalidInput: it is not a number of seconds above 0.
    """
    if text is None:
        return None
    seconds = float(text) if _NUMBER.fullmatch(text.strip()) else 0.0
    if seconds <= 0:
        errors = FieldErrors()
        errors.add("X-Request-Timeout", "must be a number of seconds above 0, such as 2.5")
        errors.raise_if_any()
    return seconds


def _number_or_text(text: str) -> int | float | str:
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _explained(error: ValidationError) -> ServiceError:
    details = error.errors(include_url=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        reason = details[0]["ctx"]["error"]
        return MalformedRequest(f"the body is not JSON: {reason}; send one JSON object")
    found: dict[str, list[str]] = {}
    for detail in details:
        advice = found.setdefault(_field(detail), [])
        if _advice(detail) not in advice:
            advice.append(_advice(detail))
    errors = FieldErrors()
    for field, reasons in found.items():
        errors.add(field, " or ".join(reasons))
    return errors.error()


def _field(detail: ErrorDetails) -> str:
    """``interpolate.steps`` or ``label[2]``; pydantic's names of union members are left out."""
    parts = detail["loc"]
    if not parts:
        return "body"
    path = str(parts[0])
    for part in parts[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and path == "interpolate":
            path += f".{part}"
    if detail["type"] == "extra_forbidden" and "ctx" in detail:
        path += f".{detail['ctx']['name']}"
    return path


def _advice(detail: ErrorDetails) -> str:
    template = _ADVICE.get(detail["type"])
    if template is None:
        return detail["msg"]
    context: Mapping[str, Any] = detail.get("ctx", {})
    return template.format(**context)
