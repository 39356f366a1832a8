"""Problem documents below some paths as other protocols say them: ``/v2`` and ``/v1``.

Outermost of all, so that it finds what any layer refuses: a body that is too large, a key that is
missing, a page that is not there. The status and the other headers stay.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from service.middleware import Application, Message, Receive, Scope, Send
from service.problems import MEDIA_TYPE

Tell = Callable[[dict[str, Any]], dict[str, Any]]


class Dialects:
    """Pure ASGI: everything that is not a problem document below such a path passes untouched.

    Args:
        application: that refuses in problem documents.
        tells: by the first part of the path, what makes another document of a problem.
        root_path: that all paths begin with.
    """

    def __init__(self, application: Application, tells: Mapping[str, Tell], root_path: str) -> None:
        self._application = application
        self._tells = tells
        self._starts = tuple(tells)
        self._root_path = root_path

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """As ASGI says."""
        path = scope.get("path", "").removeprefix(self._root_path)
        if path.startswith(self._starts) and scope["type"] == "http":
            first = "/" + path.split("/", 2)[1]
            if first in self._tells:
                return self._translate(self._tells[first], scope, receive, send)
        return self._application(scope, receive, send)

    async def _translate(self, tell: Tell, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None
        problem = bytearray()

        async def translated(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
            elif start is None:
                await send(message)
            else:
                problem.extend(message.get("body", b""))
                if not message.get("more_body"):
                    for each in _told(tell, start, bytes(problem)):
                        await send(each)

        await self._application(scope, receive, translated)


def _is_problem(start: Message) -> bool:
    return (b"content-type", MEDIA_TYPE.encode()) in list(start["headers"])


def _told(tell: Tell, start: Message, problem: bytes) -> tuple[Message, Message]:
    """The messages of the refusal; a reply to HEAD has no problem to tell."""
    body = json.dumps(tell(json.loads(problem))).encode() if problem else b""
    replaced = {b"content-type": b"application/json"}
    if problem:
        replaced[b"content-length"] = str(len(body)).encode()
    headers = [(name, replaced.get(name, value)) for name, value in start["headers"]]
    return (
        {**start, "headers": headers},
        {"type": "http.response.body", "body": body, "more_body": False},
    )
