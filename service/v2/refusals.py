"""Problem documents below ``/v2`` as the protocol says them: ``{"error": "..."}``.

Outermost of all, so that it finds what any layer refuses: a body that is too large, a key that is
missing, a page that is not there. The status and the other headers stay.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable

from service.middleware import Application, Message, Receive, Scope, Send
from service.problems import MEDIA_TYPE


class SpeakV2:
    """Pure ASGI: everything that is not a problem document below ``/v2`` passes untouched."""

    def __init__(self, application: Application, root_path: str) -> None:
        self._application = application
        self._root_path = root_path

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """As ASGI says."""
        path = scope.get("path", "").removeprefix(self._root_path)
        if scope["type"] == "http" and (path == "/v2" or path.startswith("/v2/")):
            return self._translate(scope, receive, send)
        return self._application(scope, receive, send)

    async def _translate(self, scope: Scope, receive: Receive, send: Send) -> None:
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
                    for each in _told(start, bytes(problem)):
                        await send(each)

        await self._application(scope, receive, translated)


def _is_problem(start: Message) -> bool:
    return (b"content-type", MEDIA_TYPE.encode()) in list(start["headers"])


def _told(start: Message, problem: bytes) -> tuple[Message, Message]:
    """The messages of the refusal; a reply to HEAD has no problem to tell."""
    body = json.dumps({"error": json.loads(problem)["detail"]}).encode() if problem else b""
    replaced = {b"content-type": b"application/json"}
    if problem:
        replaced[b"content-length"] = str(len(body)).encode()
    headers = [(name, replaced.get(name, value)) for name, value in start["headers"]]
    return (
        {**start, "headers": headers},
        {"type": "http.response.body", "body": body, "more_body": False},
    )
