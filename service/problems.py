"""Refusals as RFC 9457 ``application/problem+json``, and how they are counted."""

from __future__ import annotations

import json
from typing import Any

import orjson

from service.errors import (
    DeadlineExceeded,
    DeadlineUnmeetable,
    Forbidden,
    NotReady,
    QueueFull,
    RateLimited,
    ServiceError,
    Unauthorized,
)
from service.metrics import Metrics, Refusal
from service.replies import Reply

MEDIA_TYPE = "application/problem+json"

_REASONS: dict[type[ServiceError], Refusal] = {
    QueueFull: "queue_full",
    DeadlineUnmeetable: "deadline_unmeetable",
    DeadlineExceeded: "deadline_exceeded",
    NotReady: "not_ready",
    Unauthorized: "unauthorized",
    Forbidden: "forbidden",
    RateLimited: "rate_limited",
}


def refuse(error: ServiceError, request_id: str, metrics: Metrics) -> Reply:
    """Count an error that ends a request, and make its reply."""
    reason = _reason(error)
    if reason is not None:
        metrics.refuse(reason)
    return _problem(error.problem(), request_id, error.headers())


def plain_problem(status: int, title: str, detail: str, request_id: str) -> Reply:
    """A refusal that says no more than its status: its type is ``about:blank``."""
    members = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return _problem(members, request_id, {})


def _problem(members: dict[str, Any], request_id: str, headers: dict[str, str]) -> Reply:
    """What a client sent can be told back, whatever it is: lone surrogates are replaced."""
    told = members | {"request_id": request_id}
    try:
        document = orjson.dumps(told)
    except TypeError:
        document = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")
    fixed = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"}
    return Reply(members["status"], document, fixed | headers)


def _reason(error: ServiceError) -> Refusal | None:
    """The label under which a refusal is counted; failures of ours are not refusals."""
    if type(error) in _REASONS:
        return _REASONS[type(error)]
    return "invalid" if error.status < 500 else None
