"""How much of request bodies is held in memory: of one, and of all together."""

from __future__ import annotations

from service.errors import QueueFull, TooLarge
from service.metrics import Metrics
from service.middleware import Application, Message, Receive, Scope, Send, header, send_reply
from service.problems import refuse

RETRY_AFTER_S = 1.0  # a guess: bodies that are being sent come to an end, or run into their timeout


class LimitBody:
    """Refuses a body that is too large: by its Content-Length unread, else as soon as it shows.

    A body is held from its first byte to the end of its request, and so many bytes of all bodies
    at once: clients that send slowly, or wait for their answers, would fill the memory otherwise.

    Args:
        application: reads the bodies.
        limit_bytes: of one body.
        total_bytes: of all that are held; a single one is always taken.
        metrics: where refusals are counted.
    """

    def __init__(
        self, application: Application, limit_bytes: int, total_bytes: int, metrics: Metrics
    ) -> None:
        self._application, self._metrics = application, metrics
        self._limit_bytes, self._total_bytes = limit_bytes, total_bytes
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        declared = (header(scope, b"content-length") or "").lstrip("0")
        digits = len(str(self._limit_bytes))  # int() of what a client sends has a limit of its own
        if declared.isdecimal() and (len(declared), declared) > (digits, str(self._limit_bytes)):
            reply = refuse(self._too_large(), scope["request_id"], self._metrics)
            await send_reply(send, reply)
            return
        read_bytes = 0

        async def limited() -> Message:
            nonlocal read_bytes
            message = await receive()
            size = len(message.get("body", b""))
            read_bytes += size
            self._held_bytes += size
            if read_bytes > self._limit_bytes:
                raise self._too_large()
            if self._held_bytes > self._total_bytes and self._held_bytes > read_bytes:
                raise self._too_many(self._held_bytes - read_bytes)
            return message

        try:
            await self._application(scope, limited, send)
        finally:
            self._held_bytes -= read_bytes

    def _too_large(self) -> TooLarge:
        limit = self._limit_bytes
        return TooLarge(f"the body is larger than {limit} bytes: send less", limit_bytes=limit)

    def _too_many(self, others_bytes: int) -> QueueFull:
        return QueueFull(
            f"other requests hold {others_bytes} bytes of bodies, and {self._total_bytes} may be "
            "held: come back later, or send less",
            retry_after_s=RETRY_AFTER_S,
        )
