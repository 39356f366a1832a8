"""From and to the web framework: how a route is registered, what it finds, how it answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from starlette.routing import BaseRoute

from service import documentation
from service.errors import NotReady, ServiceError
from service.middleware import (
    Application,
    ClientGone,
    Receive,
    Scope,
    Send,
    WhileWanted,
    send_reply,
    send_stream,
)
from service.problems import refuse
from service.replies import Reply
from service.repository import Repository

Route = TypeVar("Route", bound=Callable[..., Any])
Answer = Callable[[Request], Awaitable[Reply]]
Shortcuts = dict[tuple[str, str], tuple[BaseRoute, Answer]]

logger = logging.getLogger(__name__)


class Routes(APIRouter):
    """Paths and the functions that answer them."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcuts: Shortcuts = {}

    def on(self, path: str, method: str = "GET") -> Callable[[Route], Route]:
        """Register a function for a path, as the OpenAPI document describes it.

        What answers GET answers HEAD too, as HTTP asks.
        """

        def register(function: Route) -> Route:
            described = documentation.operation(function.__name__)
            self.add_api_route(path, function, methods=[method], **described)
            if method == "GET":
                self.add_api_route(path, function, methods=["HEAD"], include_in_schema=False)
            return function

        return register

    def answer(self, path: str, method: str = "GET") -> Callable[[Answer], Answer]:
        """Register a function that makes a reply of ours, like ``on``."""

        def register(function: Answer) -> Answer:
            async def answered(request: Request) -> Response:
                return respond(await function(request))

            answered.__name__, answered.__doc__ = function.__name__, function.__doc__
            self.on(path, method)(answered)
            if "{" not in path:
                self.shortcuts[method, path] = self.routes[-1], function
            return function

        return register


async def body_of(request: Request) -> bytes:
    """The whole body.

    Raises:
        RequestTimeout: it comes too slowly.
        ClientGone: it never comes.
    """
    pieces: list[bytes] = []
    with request.app.state.arrivals:
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
    request.scope["progress"].arrived = perf_counter()
    return b"".join(pieces)


class Shortcut:
    """Answers on fixed paths without the framework's search, which costs more than a small picture.

    Args:
        application: answers everything else.
        shortcuts: of the routes.
    """

    def __init__(self, application: Application, shortcuts: Shortcuts) -> None:
        self._application = application
        self._shortcuts = shortcuts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        found = None
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            found = self._shortcuts.get((scope["method"], path))
        if found is None:
            await self._application(scope, receive, send)
            return
        scope["route"], answer = found
        try:
            reply = await answer(Request(scope, receive))
        except ServiceError as error:
            reply = refusal(scope, error)
        if reply.rest is None:
            await send_reply(send, reply)
            return
        async with WhileWanted(receive):
            await send_stream(send, reply, reply.rest)


def refusal(scope: Scope, error: ServiceError) -> Reply:
    """The reply to a request that ends with an error; failures of ours are logged."""
    request_id: str = scope["request_id"]
    if error.status >= 500:
        logger.warning("%s", error.detail, extra={"request_id": request_id})
    return refuse(error, request_id, scope["app"].state.metrics)


def repository_of(request: Request) -> Repository:
    """The models."""
    repository: Repository = request.app.state.repository
    return repository


def require_ready(request: Request) -> None:
    """Raise NotReady, with the reasons, when requests are not accepted."""
    reasons = repository_of(request).reasons
    if request.app.state.stopping:
        reasons = ("the service is shutting down",)
    if reasons:
        raise NotReady("; ".join(reasons), retry_after_s=1, reasons=list(reasons))


def root_path_of(request: Request) -> str:
    """Where clients find the service."""
    root_path: str = request.scope.get("root_path", "")
    return root_path


def respond(reply: Reply) -> Response:
    """A reply of ours as one of the framework's."""
    assert reply.rest is None, "a stream is sent by Shortcut"
    response = Response(reply.body, reply.status, reply.headers)
    if reply.body is None:
        del response.headers["content-length"]
    return response
