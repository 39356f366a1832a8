"""The gate: every connection goes to the worker with the fewest, and none is dropped."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest

from service.gate import Gate
from service.handover import Giver

pytestmark = pytest.mark.anyio


class FakeGiver:
    """A worker with so much room."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.given: list[socket.socket] = []

    @property
    def open_connections(self) -> int:
        return len(self.given)

    def give(self, connection: socket.socket) -> bool:
        if len(self.given) >= self.room:
            return False
        self.given.append(connection)
        return True


class Listener(socket.socket):
    """A listening socket that may fail so often."""

    failures = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class Entrance:
    """A gate, its workers, and clients that come."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.listener = stack.enter_context(Listener())
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.address = self.listener.getsockname()
        self.workers: list[FakeGiver] = []
        self.gate = Gate(self.listener, lambda: cast("list[Giver]", self.workers))
        stack.callback(self._close)

    def connect(self, count: int) -> list[socket.socket]:
        return [
            self._stack.enter_context(socket.create_connection(self.address)) for _ in range(count)
        ]

    async def given(self, count: int) -> None:
        """Wait until so many were given, in all."""
        while sum(len(worker.given) for worker in self.workers) < count:
            await asyncio.sleep(0)

    def _close(self) -> None:
        self.gate.close()
        for worker in self.workers:
            for connection in worker.given:
                connection.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def entrance(stack: ExitStack) -> Entrance:
    return Entrance(stack)


async def test_eight_connections_land_four_and_four(entrance: Entrance) -> None:
    entrance.workers = [FakeGiver(), FakeGiver()]
    entrance.gate.open()
    entrance.connect(8)
    await entrance.given(8)
    assert [len(worker.given) for worker in entrance.workers] == [4, 4]


async def test_the_worker_with_the_fewest_gets_the_next(entrance: Entrance) -> None:
    busy, idle = entrance.workers = [FakeGiver(), FakeGiver()]
    entrance.gate.open()
    entrance.connect(6)
    await entrance.given(6)
    while idle.given:
        idle.given.pop().close()
    entrance.connect(3)
    await entrance.given(6)
    assert [len(busy.given), len(idle.given)] == [3, 3]


async def test_connections_wait_while_nobody_takes_them(entrance: Entrance) -> None:
    entrance.gate.open()
    entrance.connect(3)
    entrance.workers = [FakeGiver()]
    entrance.gate.open()
    await entrance.given(3)


async def test_a_full_worker_is_passed_over_and_room_is_used_when_there_is_some(
    entrance: Entrance,
) -> None:
    small, large = entrance.workers = [FakeGiver(room=1), FakeGiver(room=3)]
    entrance.gate.open()
    entrance.connect(6)
    await entrance.given(4)
    small.room = 3
    entrance.gate.open()
    await entrance.given(6)
    assert [len(small.given), len(large.given)] == [3, 3]


async def test_what_comes_back_goes_to_another(entrance: Entrance) -> None:
    first = FakeGiver()
    entrance.workers = [first]
    entrance.gate.open()
    [client] = entrance.connect(1)
    await entrance.given(1)
    entrance.workers = []
    entrance.gate.hold([first.given.pop()])
    second = FakeGiver()
    entrance.workers = [second]
    entrance.gate.open()
    assert second.given[0].getpeername() == client.getsockname()


async def test_a_closed_door_lets_go_of_what_nobody_takes(entrance: Entrance) -> None:
    first = FakeGiver()
    entrance.workers = [first]
    entrance.gate.open()
    [client] = entrance.connect(1)
    await entrance.given(1)
    entrance.workers = []
    entrance.gate.hold([first.given.pop()])
    entrance.gate.close()
    assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        entrance.connect(1)


async def test_a_process_out_of_files_accepts_again_later(
    entrance: Entrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.gate._EXHAUSTED_S", 0.0)
    entrance.workers = [FakeGiver()]
    entrance.listener.failures = 2
    entrance.gate.open()
    entrance.connect(1)
    await entrance.given(1)
    assert entrance.listener.failures == 0
