"""The closed loop in asyncio, against a server that the test holds in its hands."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from bench.closed_loop import attack
from bench.command import BenchError
from bench.loads import Closed
from bench.processes import free_port
from bench.wrk import SEED_AGAIN


class Server:
    """Answers every request on a thread of its own; of five, one with 404 and one with 503."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.connections = 0
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self._started.wait(30)

    def _serve(self) -> None:
        async def main() -> None:
            server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/generate"
            self._stop = asyncio.Event()
            self._started.set()
            await self._stop.wait()
            server.close()

        self._loop.run_until_complete(main())
        self._loop.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                self.bodies.append(await reader.readexactly(length))
                turn = len(self.bodies) % 5
                status = {4: b"404 Gone", 0: b"503 Busy"}.get(turn, b"200 OK")
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\n{  }")
        except asyncio.IncompleteReadError:
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_each_client_asks_again_when_it_is_answered(server: Server) -> None:
    outcome = attack(server.url, Closed(3, 16), 0.2)
    assert server.connections == 3
    asked = len(server.bodies)
    refused, failed = asked // 5, (asked + 1) // 5
    assert asked >= 3
    assert outcome.failed == failed
    assert outcome.refused_per_s / outcome.requests_per_s == pytest.approx(
        refused / (asked - refused - failed)
    )
    assert set(server.bodies) == {b'{"num_images": 16}'}
    assert outcome.images_per_s == pytest.approx(16 * outcome.requests_per_s)
    assert 0 < outcome.p50_ms <= outcome.p99_ms


def test_the_same_seed_can_be_asked_for_again(server: Server) -> None:
    attack(server.url, Closed(1, again=True), 0.01)
    assert {json.loads(body)["seed"] for body in server.bodies} == {SEED_AGAIN}


def test_nobody_there_is_said() -> None:
    with pytest.raises(BenchError, match="does not answer as it should"):
        attack(f"http://127.0.0.1:{free_port()}/generate", Closed(1), 0.1)
