"""Both ends of the channel through which connections go: nothing is lost, and all is counted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from service.handover import ENDED, Giver, Taker

pytestmark = pytest.mark.anyio


class Ends:
    """A giver, the other end of its channel, and what was told."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        here, self.there = (stack.enter_context(each) for each in socket.socketpair())
        self.progressed = asyncio.Event()
        self.returned: asyncio.Future[list[socket.socket]] = asyncio.Future()
        self.giver = Giver(here, self.progressed.set, self.returned.set_result)
        stack.callback(self.giver.close)

    def connection(self) -> tuple[socket.socket, socket.socket]:
        """The client's end, and the service's."""
        client, accepted = (self._stack.enter_context(each) for each in socket.socketpair())
        return client, accepted


class Worker:
    """A taker, and what it took."""

    def __init__(self, channel: socket.socket) -> None:
        self.taken: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.finished = asyncio.Event()
        self.taker = Taker(channel, self.taken.put_nowait, self.finished.set)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def ends(stack: ExitStack) -> Ends:
    return Ends(stack)


async def test_a_connection_goes_to_the_worker_alone(ends: Ends) -> None:
    worker = Worker(ends.there)
    client, accepted = ends.connection()
    assert ends.giver.give(accepted)
    assert ends.giver.open_connections == 1
    with await worker.taken.get() as taken:
        taken.sendall(b"hello")
        assert client.recv(5) == b"hello"
        await ends.progressed.wait()
        assert accepted.fileno() == -1  # so that the worker's closing it ends it
    worker.taker.ended()
    while ends.giver.open_connections:
        await asyncio.sleep(0)
    assert client.recv(1) == b""
    worker.taker.leave()


async def test_what_a_dead_worker_did_not_receive_comes_back(ends: Ends) -> None:
    pairs = [ends.connection() for _ in range(3)]
    assert all(ends.giver.give(accepted) for _, accepted in pairs)
    ends.there.close()
    returned = await ends.returned
    assert returned == [accepted for _, accepted in pairs]
    assert not ends.giver.taking
    assert not ends.giver.give(returned[0])
    for client, accepted in pairs:  # and they are whole
        accepted.sendall(b"still here")
        assert client.recv(10) == b"still here"


async def test_what_a_leaving_worker_has_received_does_not_come_back(ends: Ends) -> None:
    worker = Worker(ends.there)
    assert ends.giver.give(ends.connection()[1])
    taken = await worker.taken.get()
    worker.taker.leave()
    assert not ends.giver.give(ends.connection()[1])
    assert await ends.returned == []
    taken.close()


async def test_the_end_of_the_stream_comes_after_all_that_was_given(ends: Ends) -> None:
    for _ in range(100):
        assert ends.giver.give(ends.connection()[1])
    ends.giver.finish()
    assert not ends.giver.give(ends.connection()[1])
    worker = Worker(ends.there)
    await worker.finished.wait()
    assert worker.taken.qsize() == 100
    worker.taker.leave()
    assert await ends.returned == []
    while not worker.taken.empty():
        worker.taken.get_nowait().close()


async def test_a_worker_without_room_is_not_waited_for(ends: Ends, stack: ExitStack) -> None:
    given = 0
    _, accepted = ends.connection()
    while ends.giver.give(duplicate := stack.enter_context(accepted.dup())):
        given += 1
    assert ends.giver.open_connections == given  # the one that failed does not count
    assert duplicate.fileno() != -1
    worker = Worker(ends.there)
    for _ in range(given):
        (await worker.taken.get()).close()
    await ends.progressed.wait()
    assert ends.giver.give(duplicate)
    (await worker.taken.get()).close()
    worker.taker.leave()


async def test_no_report_is_lost_when_the_supervisor_is_slow(stack: ExitStack) -> None:
    here, there = (stack.enter_context(each) for each in socket.socketpair())
    worker = Worker(there)
    for _ in range(5000):  # far more than the channel holds
        worker.taker.ended()
    here.setblocking(False)
    read = b""
    while len(read) < 5000:
        read += await asyncio.get_running_loop().sock_recv(here, 65536)
    assert read == 5000 * ENDED
    worker.taker.leave()
