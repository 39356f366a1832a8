"""Writes of one step of the event loop leave in one piece, in order, and before the connection."""

from __future__ import annotations

import asyncio

import pytest

from service.writing import Gathered

pytestmark = pytest.mark.anyio


class Wire(asyncio.Transport):
    """A transport that notes what happens to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.happened: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.happened.append(bytes(data))

    def close(self) -> None:
        self.happened.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.happened


async def test_one_step_is_one_write() -> None:
    wire = Wire()
    gathered = Gathered(wire)
    gathered.write(b"head ")
    gathered.write(b"body")
    assert wire.happened == []
    await asyncio.sleep(0)
    assert wire.happened == [b"head body"]
    gathered.write(b"next")
    await asyncio.sleep(0)
    assert wire.happened == [b"head body", b"next"]


async def test_what_was_written_leaves_before_the_connection_closes() -> None:
    wire = Wire()
    gathered = Gathered(wire)
    gathered.write(b"last")
    gathered.close()
    await asyncio.sleep(0)
    assert wire.happened == [b"last", "closed"]


async def test_nothing_is_written_when_the_client_has_gone() -> None:
    wire = Wire()
    gathered = Gathered(wire)
    gathered.write(b"in vain")
    wire.close()  # as the loop does when the connection is lost: uvloop's raises at a write
    await asyncio.sleep(0)
    assert wire.happened == ["closed"]


async def test_all_else_is_the_transports_own() -> None:
    gathered = Gathered(Wire())
    assert gathered.get_extra_info("peername") == ("127.0.0.1", 1)
