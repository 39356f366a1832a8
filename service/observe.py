"""The outermost layer: a request's id, its log line, its metrics, an answer if nobody has one."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from itertools import count
from time import perf_counter
from typing import Any, NamedTuple

from service.ended import Ended
from service.errors import NotReady, ServiceError
from service.logs import Line, flush
from service.making import Progress
from service.metrics import Metrics
from service.middleware import (
    CLIENT_GONE,
    Application,
    ClientGone,
    Message,
    Receive,
    Scope,
    Send,
    header,
    send_reply,
)
from service.problems import plain_problem, refuse

access = logging.getLogger("service.access")
logger = logging.getLogger(__name__)

STOPPED_RETRY_AFTER_S = 5.0  # a guess at how long a replacement takes to start
_PROCESS, _COUNT = secrets.token_hex(6), count(1)  # together a new id for each request
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class Observe:
    """Gives each request an id, writes its one log line, counts it, and answers what nobody did.

    The id is the client's ``X-Request-Id`` when that is short and harmless, else a new one. The
    application finds it in ``scope["request_id"]``, and notes in ``scope["progress"]`` how far it
    came.
    """

    def __init__(self, application: Application, metrics: Metrics) -> None:
        self._application = application
        self._metrics = metrics
        self._ended: list[_Exchange] = []  # and not yet told of
        self._telling: asyncio.AbstractEventLoop | None = None  # which will tell of them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        start, loop = perf_counter(), asyncio.get_running_loop()
        request_id = _request_id(scope)
        scope.update(request_id=request_id, progress=Progress())
        status, sent_bytes = 0, 0

        async def observed(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                told = (b"x-request-id", request_id.encode("ascii"))
                message["headers"] = [*message.get("headers", ()), told]
            elif scope["method"] == "HEAD":
                message["body"] = b""
            sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._application(scope, receive, observed)
        except ClientGone:
            status = CLIENT_GONE
        except ServiceError as error:  # half of a stream is gone: left unfinished, it is cut off
            refuse(error, request_id, self._metrics)
            logger.warning("a reply broke off: %s", error.detail, extra={"request_id": request_id})
            status = error.status
        except asyncio.CancelledError:
            if status:
                raise
            detail = "the service stopped before it could answer: ask again"
            stopped = NotReady(detail, retry_after_s=STOPPED_RETRY_AFTER_S)
            await send_reply(observed, refuse(stopped, request_id, self._metrics))
        except Exception:
            logger.exception("unexpected failure", extra={"request_id": request_id})
            if status:
                raise  # half of a reply is gone: only closing the connection can tell the client
            detail = f"an unexpected failure, logged under {request_id}: tell who runs the service"
            await send_reply(observed, plain_problem(500, "Internal error", detail, request_id))
        finally:
            self._ended.append(_Exchange(scope, status, sent_bytes, perf_counter() - start))
            if self._telling is not loop:
                self._telling = loop
                loop.call_soon(loop.call_soon, self._tell)  # behind what this step has written

    def _tell(self) -> None:
        """Count and log what has ended; what cannot be counted is logged all the same."""
        ended, self._ended, self._telling = self._ended, [], None
        try:
            self._metrics.observe_requests([exchange.ended for exchange in ended])
            if gone := sum(exchange.status == CLIENT_GONE for exchange in ended):
                self._metrics.cancellations.inc(gone)
        finally:
            if access.isEnabledFor(logging.INFO):
                for exchange in ended:
                    access.handle(Line(access.name, "request", exchange.told))
                flush()


class _Exchange(NamedTuple):
    """A request, and what became of it."""

    scope: Scope
    status: int
    sent_bytes: int
    seconds: float

    @property
    def ended(self) -> Ended:
        """What the metrics count."""
        progress: Progress = self.scope["progress"]
        route = getattr(self.scope.get("route"), "path", "unknown")
        return Ended(
            route,
            progress.model,
            self.status,
            self.seconds,
            progress.phases_s,
            progress.images,
            self.scope.get("exemplar"),
        )

    @property
    def told(self) -> dict[str, Any]:
        """What the log line says."""
        scope, progress = self.scope, self.scope["progress"]
        client = scope.get("client")
        told: dict[str, Any] = {
            "request_id": scope["request_id"],
            "client": client[0] if client else None,
            "method": scope["method"],
            "path": scope["path"],
            "status": self.status,
            "seconds": round(self.seconds, 6),
            "sent_bytes": self.sent_bytes,
        }
        if "key" in scope:
            told["key"] = scope["key"]
        if "trace_id" in scope:
            told["trace_id"] = scope["trace_id"]
        if progress.model:
            told |= {
                "model": progress.model,
                "version": progress.version,
                "images": progress.images,
            }
            told |= {f"{phase}_s": round(s, 6) for phase, s in progress.phases_s.items()}
        if progress.cache:
            told["cache"] = progress.cache
        return told


def _request_id(scope: Scope) -> str:
    given = header(scope, b"x-request-id") or ""
    return given if _REQUEST_ID.fullmatch(given) else f"{_PROCESS}-{next(_COUNT):x}"
