"""A problem as OpenAI's interface says it, and values that do not fit as its 400."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from service.errors import InvalidInput, MalformedRequest, UnknownModel
from service.openai.documents import FaultKind, OpenAIError, OpenAIFault

# Names that clients know; the others are our own, as /generate's refusals have them.
_CODES = {
    "Unauthorized": "invalid_api_key",
    "Forbidden": "insufficient_permissions",
    "RateLimited": "rate_limit_exceeded",
    "UnknownModel": "unknown_url",
}
FIELDS = {
    "label": "prompt",
    "num_images": "n",
    "height": "size",
    "width": "size",
    "format": "output_format",
}
"""Fields of ``/generate``, and what they are called here."""


def tell(problem: dict[str, Any]) -> dict[str, Any]:
    """``{"error": {"message", "type", "param", "code"}}``."""
    status = problem["status"]
    name = problem["type"].rpartition(":")[2]  # "blank" of what nobody expected
    fault = OpenAIFault(
        message=problem["detail"],
        type=_kind(status),
        param=problem.get("param"),
        code=problem.get("code") or _CODES.get(name) or _snake_case(name),
    )
    return OpenAIError(error=fault).model_dump()


def _kind(status: int) -> FaultKind:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


@contextmanager
def told_as_400(fields: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Values that do not fit are 400 here, and name the first field that is wrong.

    Args:
        fields: what a field is called here, where that differs.
    """
    try:
        yield
    except InvalidInput as error:
        wrong: list[dict[str, Any]] = error.extra.get("errors", [])
        names = [fields.get(each["field"], each["field"]) for each in wrong]
        said = [f"{name}: {each['detail']}" for name, each in zip(names, wrong, strict=True)]
        raise MalformedRequest(
            "; ".join(said) or error.detail,
            param=names[0] if names else None,
            code="invalid_value",
        ) from None


@contextmanager
def naming_the_model() -> Iterator[None]:
    """What is unknown is the model that the field ``model`` names, and no page."""
    try:
        yield
    except UnknownModel as error:
        error.extra |= {"param": "model", "code": "model_not_found"}
        raise


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
