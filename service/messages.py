"""What supervisor and workers say to each other: a JSON object a line, through a pair of sockets.

Either end tells the other something, or asks it and gets an answer. A refusal (``ServiceError``)
arrives as what it was raised as.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from service import errors
from service.errors import ServiceError

logger = logging.getLogger(__name__)

Told = Callable[[str, Any], None]
Answer = Callable[[str, Any], Awaitable[Any]]

_LINE_BYTES = 2**24  # of one message, at most


class Messages:
    """One end of the channel.

    Args:
        channel: one of a connected pair.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """To be called once, before anything else."""
        self._reader, self._writer = await asyncio.open_connection(
            sock=self._channel, limit=_LINE_BYTES
        )

    def tell(self, name: str, value: object = None) -> None:
        """Say something, if anybody is still there."""
        self._write({"tell": name, "value": value})

    async def ask(self, name: str, value: object = None) -> Any:  # noqa: ANN401
        """Ask something.

        Raises:
            ServiceError: the other end refused.
            ConnectionResetError: it is gone, or went before it answered.
        """
        if self._writer is None:
            raise ConnectionResetError("the other end is gone")
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._write({"ask": name, "value": value, "number": number})
        try:
            return await answer
        finally:
            del self._asked[number]

    async def listen(self, told: Told, answer: Answer) -> None:
        """Hear the other end until it is gone.

        Args:
            told: called with what it says.
            answer: called with what it asks; several questions may be open at once.
        """
        try:
            while line := await self._reader.readline():
                self._hear(json.loads(line), told, answer)
        except ConnectionError:  # it was killed
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Say and hear no more."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ConnectionResetError("the other end is gone"))

    def _write(self, message: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")

    def _hear(self, message: dict[str, Any], told: Told, answer: Answer) -> None:
        match message:
            case {"tell": name, "value": value}:
                told(name, value)
            case {"ask": name, "value": value, "number": number}:
                task = asyncio.create_task(self._answer(number, answer(name, value)))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            case {"answer": number, "value": value}:
                if (asked := self._asked.get(number)) and not asked.done():
                    asked.set_result(value)
            case {"answer": number, "refusal": refusal}:
                if (asked := self._asked.get(number)) and not asked.done():
                    asked.set_exception(_raised(refusal))

    async def _answer(self, number: int, answer: Awaitable[Any]) -> None:
        try:
            self._write({"answer": number, "value": await answer})
        except ServiceError as error:
            self._write({"answer": number, "refusal": _refusal(error)})
        except Exception:
            logger.exception("a question could not be answered")
            failure = ServiceError("it failed; the cause is in the log of the service")
            self._write({"answer": number, "refusal": _refusal(failure)})


def _refusal(error: ServiceError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "detail": error.detail,
        "retry_after_s": error.retry_after_s,
        "extra": error.extra,
    }


def _raised(refusal: dict[str, Any]) -> ServiceError:
    kind: type[ServiceError] = getattr(errors, refusal["type"])
    return kind(refusal["detail"], retry_after_s=refusal["retry_after_s"], **refusal["extra"])
