"""What is written to a connection in one step of the event loop leaves in one piece."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class Gathered:
    """A transport that gathers writes until the step is over.

    uvicorn writes the head of a reply, and then its body: two system calls and two packets, which
    cost about as much as a tenth of a small picture.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the transport's own
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """As a transport does, soon."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def close(self) -> None:
        """As a transport does, after what was written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces and not self._transport.is_closing():  # the client may have gone meanwhile
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))


class Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's own, which writes each reply in one piece."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """As asyncio says."""
        super().connection_made(Gathered(transport))
