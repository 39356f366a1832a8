"""The gate of the service: accepts connections, and gives each to the worker with the fewest.

With one listening socket for all workers, or one each, the kernel decides who gets a connection:
eight clients land six to two on two workers, and half the machine idles. It costs a hand-over per
connection, and nothing per request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable

from service.handover import Giver

logger = logging.getLogger(__name__)

_AT_ONCE = 64  # connections accepted before the loop does something else
_EXHAUSTED_S = 1.0  # to wait when the process may open no more files


class Gate:
    """Open whenever a worker has room; else connections wait in the kernel.

    Args:
        listener: the listening socket.
        takers: the workers to choose from, at present.
    """

    def __init__(self, listener: socket.socket, takers: Callable[[], Iterable[Giver]]) -> None:
        listener.setblocking(False)
        self._listener, self._takers = listener, takers
        self._held: deque[socket.socket] = deque()
        self._loop = asyncio.get_running_loop()
        self._watching = self._closed = False

    def hold(self, connections: Iterable[socket.socket]) -> None:
        """Take connections back from a worker that is gone, for another."""
        self._held.extend(connections)
        self.open()

    def open(self) -> None:
        """Give what is held; accept more when all of it could be given, and anybody takes it."""
        while self._held and self._give(self._held[0]):
            self._held.popleft()
        while self._held and self._closed:
            self._held.popleft().close()
        wanted = not self._closed and not self._held and any(True for _ in self._takers())
        if wanted and not self._watching:
            self._loop.add_reader(self._listener, self._accept)
        elif self._watching and not wanted:
            self._loop.remove_reader(self._listener)
        self._watching = wanted

    def close(self) -> None:
        """Accept no more, and let go of what nobody takes."""
        self._closed = True
        self.open()
        self._listener.close()

    def _give(self, connection: socket.socket) -> bool:
        takers = sorted(self._takers(), key=lambda taker: taker.open_connections)
        return any(taker.give(connection) for taker in takers)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:  # too many open files: others have to close first
                logger.error("cannot accept a connection: %s", error)
                self._loop.remove_reader(self._listener)
                self._watching = False
                self._loop.call_later(_EXHAUSTED_S, self.open)
                return
            self._held.append(connection)
            if not self._give(self._held[-1]):
                break
            self._held.pop()
        self.open()
