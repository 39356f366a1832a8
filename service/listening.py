"""The address of the service: its listening socket, and its URL."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from service import __version__
from service.config import InvalidSetting

BACKLOG = 2048  # connections that wait to be accepted


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InvalidSetting: the address cannot be had, for example because the port is taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        # create_server adds the address to strerror, and getaddrinfo has numbers of its own.
        named = isinstance(error, socket.gaierror)
        reason = error.strerror if named else os.strerror(error.errno or 0)
        raise InvalidSetting(
            f"cannot listen on {host}:{port} ({reason}): stop what listens there, or "
            "choose another with --port or --host"
        ) from error


def announce(models: Iterable[str], listener: socket.socket) -> None:
    """Tell the person at the terminal, or the test, that the models serve, and where."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"Ganymede {__version__} serves {', '.join(models) or 'nothing'} on {url}", flush=True)
