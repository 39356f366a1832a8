"""What the OpenAPI document says of API keys, by the rules of the guard."""

from __future__ import annotations

from typing import Any

from service.errors import Forbidden, RateLimited, Unauthorized
from service.guard import scope_for

REFUSALS = (Unauthorized, Forbidden, RateLimited)
SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same"},
}
_HEADERS = {
    401: {"WWW-Authenticate": "the challenge of RFC 6750"},
    403: {"WWW-Authenticate": "likewise, where another key would help"},
    429: {
        "RateLimit-Policy": "at most q requests in w seconds; on every reply to a limited key",
        "RateLimit": "r requests remain, and in t seconds all are back; likewise",
    },
}


def secured(paths: dict[str, Any], refusals: dict[int | str, dict[str, Any]]) -> dict[str, Any]:
    """The paths of the document, saying of keys what is true where the service has any.

    Args:
        paths: of the document without keys.
        refusals: the responses that tell of ``REFUSALS``.
    """
    return {
        path: methods
        if scope_for(path) is None
        else {method: _secured(operation, refusals) for method, operation in methods.items()}
        for path, methods in paths.items()
    }


def _secured(
    operation: dict[str, Any], refusals: dict[int | str, dict[str, Any]]
) -> dict[str, Any]:
    responses = dict(operation["responses"])
    shapes = [said["content"] for status, said in responses.items() if int(status) >= 400]
    shape = {"content": shapes[0]} if shapes else {}  # another protocol's, perhaps
    for status, refusal in refusals.items():
        told = responses.get(str(status), {})
        said = " ".join({each["description"]: None for each in (told, refusal) if each})
        headers = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS[int(status)].items()
        }
        headers |= refusal.get("headers", {})
        responses[str(status)] = refusal | shape | {"description": said, "headers": headers}
    security: list[dict[str, Any]] = [
        {},
        *({scheme: []} for scheme in SCHEMES),
    ]  # {}: where there are no keys
    return operation | {"responses": dict(sorted(responses.items())), "security": security}
