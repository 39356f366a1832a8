"""One of several workers: ``python -m service.worker``, which only ``service.supervisor`` starts.

It has no listening socket. Connections come through a channel, and so does the order to stop: its
end. Through another it tells its supervisor (what each asks the other is told in ``fleet``)::

    listens              requests are answered, if only with 503
    serves  [name/1]     the models are loaded
    ready   true, false  whether requests are accepted changed, later
    fails   why          the models never will be loaded
    lives                several times a second, as long as it does anything
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from threading import Timer
from types import FrameType
from typing import Any

from service import logs
from service.config import ServiceConfig, StartupError
from service.fleet import FleetControl
from service.handover import Taker
from service.messages import Messages
from service.metrics import Metrics
from service.process import Assignment
from service.repository import Repository
from service.server import Server
from service.slots import occupy
from service.threads import usable_cores

LAST_S = 10.0  # beyond what a worker allows itself when it stops, and more than a supervisor waits


class _Connections(set[Any]):
    """uvicorn's open connections, which tell when one ends."""

    def __init__(self, server: Worker) -> None:
        super().__init__()
        self._server = server

    def discard(self, connection: object) -> None:
        if connection in self:
            super().discard(connection)
            self._server.taker.ended()


class Worker(Server):
    """The server of one worker.

    Args:
        config: with this worker's share of everything.
        metrics: likewise.
        connections: where they come from.
        messages: to the supervisor.
    """

    taker: Taker

    def __init__(
        self,
        config: ServiceConfig,
        metrics: Metrics,
        connections: socket.socket,
        messages: Messages,
    ) -> None:
        repository = Repository(config, metrics)
        self._control = FleetControl(repository, messages)
        super().__init__(config, metrics, repository, self._control)
        self._channel, self._messages = connections, messages
        # A run that never ends keeps no worker whose supervisor was killed, and can kill nobody.
        self._last = Timer(2 * config.drain_s + LAST_S, os._exit, [1])
        self._last.daemon = True
        self._ready: bool | None = None  # None until they were loaded
        self._arriving: set[asyncio.Task[None]] = set()
        self.server_state.connections = _Connections(self)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections; the models load meanwhile."""
        await self._messages.open()
        listening = self._messages.listen(self._hear, self._control.answer)
        self._listening = asyncio.create_task(listening)
        await super().startup(sockets=[])
        self.taker = Taker(self._channel, self._take, self._leave)
        self._messages.tell("listens")

    async def on_tick(self, counter: int) -> bool:
        """Tell when the models fall into trouble, and when they are out of it."""
        if self._ready is not None and self._ready != self._app.state.repository.ready:
            self._ready = not self._ready
            self._messages.tell("ready", self._ready)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and finish what was taken."""
        self.taker.leave()
        await asyncio.gather(*self._arriving)
        await super().shutdown(sockets)
        self._last.cancel()
        self._messages.close()
        await self._listening

    def serves(self, models: list[str], sockets: list[socket.socket]) -> None:
        """Tell the supervisor."""
        self._app.state.metrics.refresh()  # no later than it is believed
        self._ready = True
        self._messages.tell("serves", models)

    def lives(self) -> None:
        """Tell the supervisor, which replaces a worker that says no more."""
        self._messages.tell("lives")

    def fails(self, failure: Exception) -> None:
        """Tell the supervisor, and end."""
        super().fails(failure)
        if isinstance(failure, StartupError):
            self._messages.tell("fails", str(failure))

    def _hear(self, name: str, value: object) -> None:
        """A supervisor asks, and tells nothing."""

    def _leave(self) -> None:
        if not self.should_exit:
            self._last.start()
        self._app.state.stopping = self.should_exit = True

    def _take(self, connection: socket.socket) -> None:
        task = asyncio.create_task(self._connect(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError:  # the client is gone already
            connection.close()
            self.taker.ended()

    def _protocol(self) -> asyncio.Protocol:
        """Uvicorn's own, as its ``startup`` makes it for connections that it accepts."""
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(descriptors: tuple[int, int], assignment: Assignment) -> None:
    """Serve until there are no more connections to come."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    supervisor = os.getppid()
    config = ServiceConfig(**assignment.settings)
    logs.configure(config.log_level)
    folder = Path(assignment.folder)
    occupy(folder, assignment.slot)
    metrics = Metrics(folder)
    if assignment.replaces:
        metrics.worker_restarts.inc()
    connections, channel = (socket.socket(fileno=each) for each in descriptors)
    share = assignment.share(config, config.cores or usable_cores())
    server = Worker(share, metrics, connections, Messages(channel))
    server.run()
    if os.getppid() != supervisor:  # it was killed, and cannot tidy up
        shutil.rmtree(folder, ignore_errors=True)
        return
    if isinstance(server.failure, StartupError):  # the supervisor says why
        raise SystemExit(2)
    if server.failure is not None:
        raise server.failure


if __name__ == "__main__":
    main((int(sys.argv[1]), int(sys.argv[2])), Assignment.from_json(sys.argv[3]))
