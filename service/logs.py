"""Logging of the service as it runs: one JSON object a line, on standard error.

Only where a process begins (``service.commands``, ``service.worker``) is ``configure`` called;
everything else just logs.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

PIECE_BYTES = 4096  # PIPE_BUF on Linux; nowhere less than 512, which is the length of a line
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_BLANK = vars(logging.makeLogRecord({"levelno": logging.INFO, "levelname": "INFO"}))


class JsonLines(logging.Formatter):
    """A record as one line of JSON; what was given as ``extra`` becomes members of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """As logging says."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(told, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class Line(logging.LogRecord):
    """A record without the search for its origin, for what is logged thousands of times a second.

    Args:
        name: of the logger that handles it.
        message: of level INFO.
        members: as ``extra`` gives them.
    """

    def __init__(self, name: str, message: str, members: Mapping[str, Any]) -> None:
        vars(self).update(_BLANK, name=name, msg=message, created=time.time(), **members)


class Gathering(logging.StreamHandler[TextIO]):
    """Writes a ``Line`` together with those that follow, when it is flushed; all else at once.

    Lines are whole, though workers share the stream: a pipe takes so much in one piece (POSIX).
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._kept: list[str] = []
        self._kept_bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        """As logging says."""
        if not isinstance(record, Line):
            self.flush()
            super().emit(record)
            return
        try:
            line = self.format(record) + self.terminator
            nbytes = len(line.encode())
            if self._kept_bytes + nbytes > PIECE_BYTES:
                self.flush()
            self._kept.append(line)
            self._kept_bytes += nbytes
        except Exception:  # as every handler does: what cannot be logged stops nothing
            self.handleError(record)

    def flush(self) -> None:
        """As logging says."""
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        if kept:
            self.stream.write("".join(kept))
        super().flush()


def flush() -> None:
    """Write the lines that are kept."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Gathering):
            handler.flush()


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Send every log line of the process to ``stream``.

    uvicorn's own access log is off: the service's line says the same and more.
    """
    handler = Gathering(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True
