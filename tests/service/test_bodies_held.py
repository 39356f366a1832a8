"""So many bytes of bodies are held at once, and they are given back however a request ends."""

from __future__ import annotations

import asyncio

import pytest

from service.bodies import LimitBody
from service.errors import QueueFull, TooLarge
from service.metrics import Metrics
from service.middleware import Message, Receive, Scope, Send

pytestmark = pytest.mark.anyio


class Reader:
    """An application that reads its body, and ends when it is told."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await self.ended.wait()


def pieces(*sizes: int) -> Receive:
    messages = [{"type": "http.request", "body": b"x" * size, "more_body": True} for size in sizes]
    messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    return receive


async def send(message: Message) -> None:
    raise AssertionError("nobody answers here")


def asked(limit: LimitBody, *sizes: int) -> asyncio.Task[None]:
    scope = {"type": "http", "headers": [], "request_id": "x"}
    return asyncio.create_task(limit(scope, pieces(*sizes), send))


async def test_bodies_beyond_the_total_are_refused_until_others_end() -> None:
    reader = Reader()
    limit = LimitBody(reader, limit_bytes=100, total_bytes=150, metrics=Metrics())
    first = asked(limit, 50, 50)
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="other requests hold 100 bytes") as refused:
        await asked(limit, 60)
    assert refused.value.retry_after_s
    second = asked(limit, 50)  # what was refused holds nothing
    await asyncio.sleep(0)
    reader.ended.set()
    await asyncio.gather(first, second)
    await asked(limit, 100)


async def test_one_body_is_always_taken() -> None:
    reader = Reader()
    reader.ended.set()
    await asked(LimitBody(reader, limit_bytes=100, total_bytes=1, metrics=Metrics()), 100)


async def test_what_a_cancelled_request_held_is_given_back() -> None:
    reader = Reader()
    limit = LimitBody(reader, limit_bytes=100, total_bytes=100, metrics=Metrics())
    gone = asked(limit, 100)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    with pytest.raises(TooLarge):
        await asked(limit, 60, 60)
    reader.ended.set()
    await asked(limit, 100)
