"""Connections go from the supervisor to a worker: both ends of the channel between them.

The channel is a pair of Unix sockets. One way goes a byte with each connection (``SCM_RIGHTS``);
the other way a byte for each connection that was received, and one for each that has ended. So the
supervisor knows how many are open where, and still holds what a dead worker has not received: it is
given to another, as nothing was read from it. The end of the stream means that nothing more comes.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

RECEIVED, ENDED = b"+", b"-"

_AT_ONCE = 64  # connections received before the loop does something else
_REPORTS_BYTES = 4096


class Giver:
    """The supervisor's end.

    Args:
        channel: whose other end a ``Taker`` has.
        progress: called when the worker has received something.
        lost: called when the worker takes no more, with the connections that it did not receive.
    """

    def __init__(
        self,
        channel: socket.socket,
        progress: Callable[[], None],
        lost: Callable[[list[socket.socket]], None],
    ) -> None:
        channel.setblocking(False)
        self._channel, self._progress, self._lost = channel, progress, lost
        self._underway: deque[socket.socket] = deque()
        self.open_connections = 0
        self.taking = True
        asyncio.get_running_loop().add_reader(channel, self._read_reports)

    def give(self, connection: socket.socket) -> bool:
        """Hand a connection over; False when the worker has no room for it, or is gone."""
        if not self.taking:
            return False
        try:
            socket.send_fds(self._channel, [b"c"], [connection.fileno()])
        except OSError:  # full; or gone, which the next report will tell
            return False
        self._underway.append(connection)
        self.open_connections += 1
        return True

    def finish(self) -> None:
        """Nothing more comes: the worker finishes what it has, and ends."""
        if self.taking:
            self.taking = False
            self._channel.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Forget the worker, and tell what it did not receive."""
        if self._channel.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        self.taking = False
        returned = list(self._underway)
        self._underway.clear()
        self._lost(returned)

    def _read_reports(self) -> None:
        try:
            reports = self._channel.recv(_REPORTS_BYTES)
        except BlockingIOError:
            return
        except OSError:
            reports = b""
        if not reports:
            self.close()
            return
        received = reports.count(RECEIVED)
        for _ in range(received):
            self._underway.popleft().close()
        self.open_connections -= reports.count(ENDED)
        if received:
            self._progress()


class Taker:
    """The worker's end.

    Args:
        channel: whose other end a ``Giver`` has.
        take: given each connection; ``ended`` is to be called once it is over.
        finished: called when nothing more comes.
    """

    def __init__(
        self,
        channel: socket.socket,
        take: Callable[[socket.socket], None],
        finished: Callable[[], None],
    ) -> None:
        channel.setblocking(False)
        self._channel, self._take, self._finished = channel, take, finished
        self._unsent = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel, self._receive)

    def ended(self) -> None:
        """Report that a connection is over."""
        self._report(ENDED)

    def leave(self) -> None:
        """Take no more: what was given and not yet received goes to another worker."""
        if self._channel.fileno() < 0:
            return
        self._loop.remove_reader(self._channel)
        self._loop.remove_writer(self._channel)
        self._channel.close()

    def _receive(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
            except BlockingIOError:
                return
            except OSError:  # the supervisor is gone
                data, descriptors = b"", []
            if not data:
                self._loop.remove_reader(self._channel)
                self._finished()
                return
            self._report(RECEIVED)  # before anything is read from it: from now on it is ours
            if descriptors:
                self._take(socket.socket(fileno=descriptors[0]))
            else:  # this process has no descriptor left for it
                self._report(ENDED)

    def _report(self, report: bytes) -> None:
        if self._channel.fileno() < 0:
            return
        self._unsent += report
        if len(self._unsent) == 1:  # else a writer waits, and sends it too
            self._send()

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._channel.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads them any more
            self._unsent = b""
        if self._unsent:
            self._loop.add_writer(self._channel, self._send)
        else:
            self._loop.remove_writer(self._channel)
