"""What supervisor and workers say arrives, is answered or refused, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.errors import QueueFull, ServiceError, UnknownModel
from service.messages import Messages

pytestmark = pytest.mark.anyio


class Other:
    """The other end: it keeps what it is told, and answers as a test says."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def told(self, name: str, value: Any) -> None:  # noqa: ANN401
        self.heard.put_nowait((name, value))

    async def answer(self, name: str, value: Any) -> Any:  # noqa: ANN401
        match name:
            case "double":
                return 2 * value
            case "refuse":
                raise UnknownModel("there is none", retry_after_s=2.5, models=["tiny"])
            case "fail":
                raise ZeroDivisionError
        await asyncio.Event().wait()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Messages, Messages, Other]]:
    one, two = map(Messages, socket.socketpair())
    await one.open()
    await two.open()
    other = Other()
    listening = [
        asyncio.create_task(two.listen(other.told, other.answer)),
        asyncio.create_task(one.listen(Other().told, Other().answer)),
    ]
    yield one, two, other
    one.close()
    two.close()
    await asyncio.gather(*listening)


async def test_what_is_told_arrives_in_order() -> None:
    async with connected() as (one, _, other):
        one.tell("first", {"größe": [1, None]})
        one.tell("second")
        assert await other.heard.get() == ("first", {"größe": [1, None]})
        assert await other.heard.get() == ("second", None)


async def test_each_question_gets_its_own_answer() -> None:
    async with connected() as (one, _, _):
        answers = await asyncio.gather(*(one.ask("double", k) for k in range(20)))
        assert answers == [2 * k for k in range(20)]


async def test_a_refusal_arrives_as_what_it_was() -> None:
    async with connected() as (one, _, _):
        with pytest.raises(UnknownModel) as caught:
            await one.ask("refuse")
    error = caught.value
    assert (error.detail, error.retry_after_s) == ("there is none", 2.5)
    assert error.extra == {"models": ["tiny"]}
    assert not isinstance(error, QueueFull)


async def test_a_failure_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (one, _, _):
        with pytest.raises(ServiceError, match="in the log") as caught:
            await one.ask("fail")
    assert caught.value.status == 500
    assert "ZeroDivisionError" in caplog.text


async def test_whoever_waits_is_told_when_the_other_end_goes() -> None:
    async with connected() as (one, two, _):
        waiting = asyncio.create_task(one.ask("never"))
        await one.ask("double", 1)
        two.close()
        with pytest.raises(ConnectionResetError):
            await waiting
        with pytest.raises(ConnectionResetError):
            await one.ask("double", 1)
        one.tell("nobody")
