"""What surrounds every request, as pure ASGI: its id, its size limit, its log line, its metrics.

Nothing here is a ``BaseHTTPMiddleware``: that one hides from the application that its client has
gone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing, suppress
from itertools import count
from time import perf_counter
from typing import Any

from service.errors import NotReady, QueueFull, RequestTimeout, ServiceError, TooLarge
from service.logs import Line
from service.making import Progress
from service.metrics import Metrics
from service.problems import plain_problem, refuse
from service.replies import Reply

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

access = logging.getLogger("service.access")
logger = logging.getLogger(__name__)

CLIENT_GONE = 499  # never sent: what the log and the metrics say of a request nobody waits for
WATCHED_AFTER_S = 0.05
STOPPED_RETRY_AFTER_S = 5.0  # a guess at how long a replacement takes to start
_PROCESS, _COUNT = secrets.token_hex(6), count(1)  # together a new id for each request
_FOUND_HEADERS = "service.headers"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class ClientGone(Exception):
    """The client closed its connection before its reply was ready."""


class Observe:
    """Gives each request an id, writes its one log line, counts it, and answers what nobody did.

    The id is the client's ``X-Request-Id`` when that is short and harmless, else a new one. The
    application finds it in ``scope["request_id"]``, and notes in ``scope["progress"]`` how far it
    came.
    """

    def __init__(self, application: Application, metrics: Metrics) -> None:
        self._application = application
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        start = perf_counter()
        request_id = _request_id(scope)
        scope.update(request_id=request_id, progress=Progress())
        status, sent_bytes, ended = 0, 0, 0.0

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
            ended = perf_counter()
            await asyncio.sleep(0)  # the reply leaves first, then it is told of
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
            self._record(scope, status, sent_bytes, (ended or perf_counter()) - start)

    def _record(self, scope: Scope, status: int, sent_bytes: int, seconds: float) -> None:
        progress: Progress = scope["progress"]
        route = getattr(scope.get("route"), "path", "unknown")
        if status == CLIENT_GONE:
            self._metrics.cancellations.inc()
        told = (route, progress.model, status, seconds, progress.phases_s, progress.images)
        self._metrics.observe_request(*told, scope.get("exemplar"))
        if access.isEnabledFor(logging.INFO):
            access.handle(Line(access.name, "request", _told(scope, status, sent_bytes, seconds)))


def _told(scope: Scope, status: int, sent_bytes: int, seconds: float) -> dict[str, Any]:
    """What the log line says of a request."""
    progress: Progress = scope["progress"]
    client = scope.get("client")
    told: dict[str, Any] = {
        "request_id": scope["request_id"],
        "client": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "seconds": round(seconds, 6),
        "sent_bytes": sent_bytes,
    }
    if "key" in scope:
        told["key"] = scope["key"]
    if "trace_id" in scope:
        told["trace_id"] = scope["trace_id"]
    if progress.model:
        told |= {"model": progress.model, "version": progress.version, "images": progress.images}
        told |= {f"{phase}_s": round(s, 6) for phase, s in progress.phases_s.items()}
    if progress.cache:
        told["cache"] = progress.cache
    return told


def _request_id(scope: Scope) -> str:
    given = header(scope, b"x-request-id") or ""
    return given if _REQUEST_ID.fullmatch(given) else f"{_PROCESS}-{next(_COUNT):x}"


def header(scope: Scope, name: bytes) -> str | None:
    """A request header's value; values of a header that came several times are joined."""
    found: dict[bytes, str] | None = scope.get(_FOUND_HEADERS)
    if found is None:
        found = scope[_FOUND_HEADERS] = {}
        for key, value in scope["headers"]:
            text = value.decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
    return found.get(name)


class UnderRootPath:
    """Serves below a path, whether or not the reverse proxy before it strips that path."""

    def __init__(self, application: Application, root_path: str) -> None:
        self._application = application
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] == "http":
            scope["root_path"] = self._root_path
            if not f"{scope['path']}/".startswith(f"{self._root_path}/"):
                scope["path"] = self._root_path + scope["path"]
        await self._application(scope, receive, send)


async def send_reply(send: Send, reply: Reply) -> None:
    """Send a whole reply, without a web framework."""
    body = reply.body or b""
    headers = _encoded(reply.headers)
    headers.append((b"content-length", str(len(body)).encode("ascii")))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_stream(send: Send, reply: Reply, rest: AsyncGenerator[bytes]) -> None:
    """Send a reply whose end is still to come, piece by piece."""
    headers = _encoded(reply.headers)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body or b"", "more_body": True})
    async with aclosing(rest):
        async for piece in rest:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
    ]


class Arrivals:
    """A block that reads a body ends with RequestTimeout when it takes longer than ``seconds``.

    One timer watches all of them: nearly every body is there at once, and a timer for each would
    cost more than reading it.

    Args:
        seconds: for a whole body.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._latest = seconds, math.inf
        self._began: dict[asyncio.Task[Any], float] = {}  # the first one began first
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        self._began[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        began = self._began.pop(task)
        if task in self._late:
            self._late.remove(task)
            if kind is asyncio.CancelledError and task.uncancel() == 0:
                told_s = round(task.get_loop().time() - began, 1)
                raise RequestTimeout(
                    f"the body did not arrive within {told_s:g} s: send it faster"
                ) from None

    def hurry(self, seconds: float) -> None:
        """Wait no longer than so many seconds from now."""
        if self._timer is None:
            return
        self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._latest = loop.time() + seconds
        self._look()

    def _look(self) -> None:
        """End what took too long, and come back when the next one will have."""
        self._timer, loop = None, asyncio.get_running_loop()
        for task, began in self._began.items():
            due = min(began + self._seconds, self._latest)
            if due > loop.time():
                self._timer = loop.call_at(due, self._look)
                break
            if task not in self._late:
                self._late.add(task)
                task.cancel()


class WhileWanted:
    """Cancel the block, and raise ClientGone, when the client closes its connection.

    The connection is looked at from ``WATCHED_AFTER_S`` on: to watch costs more than what most
    blocks would do meanwhile.

    Args:
        receive: of a request whose body was read.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = task.get_loop().call_later(WATCHED_AFTER_S, self._start)

    def _start(self) -> None:
        self._watcher = self._task.get_loop().create_task(self._watch())

    async def _watch(self) -> None:
        with suppress(TooLarge, QueueFull):  # a body that nobody reads is nobody's concern
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self._gone = True
            self._task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        if cancelled and self._gone and self._task.uncancel() == 0:
            raise ClientGone from None
