"""From and to the web framework: how a route is registered, what it finds, how it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from service import documentation
from service.middleware import ClientGone, arrives_within
from service.replies import Reply
from service.repository import Repository

Route = TypeVar("Route", bound=Callable[..., Any])


class Routes(APIRouter):
    """Paths and the functions that answer them."""

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


async def body_of(request: Request) -> bytes:
    """The whole body.

    Raises:
        RequestTimeout: it comes too slowly.
        ClientGone: it never comes.
    """
    state = request.app.state
    try:
        async with arrives_within(state.config.timeout_s, state.reading):
            return await request.body()
    except ClientDisconnect:
        raise ClientGone from None


def repository_of(request: Request) -> Repository:
    """The models."""
    repository: Repository = request.app.state.repository
    return repository


def root_path_of(request: Request) -> str:
    """Where clients find the service."""
    root_path: str = request.scope.get("root_path", "")
    return root_path


def respond(reply: Reply) -> Response:
    """A reply of ours as one of the framework's."""
    response = Response(reply.body, reply.status, reply.headers)
    if reply.body is None:
        del response.headers["content-length"]
    return response
