"""Logging of the service as it runs: one JSON object a line, on standard error.

Only where a process begins (``service.commands``, ``service.worker``) is ``configure`` called;
everything else just logs.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

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
        if isinstance(record, Lines):
            return "\n".join(_json({**told, **members}) for members in record.lines)
        told |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return _json(told)


class Lines(logging.LogRecord):
    """Several lines that leave at once, for what is logged thousands of times a second.

    Their origin is not searched for.

    Args:
        name: of the logger that handles it.
        message: of each line, which is of level INFO.
        lines: the members of each, as ``extra`` gives them.
    """

    lines: Sequence[Mapping[str, Any]]

    def __init__(self, name: str, message: str, lines: Sequence[Mapping[str, Any]]) -> None:
        vars(self).update(_BLANK, name=name, msg=message, created=time.time(), lines=lines)


def _json(members: Mapping[str, Any]) -> str:
    return orjson.dumps(members, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Send every log line of the process to ``stream``.

    uvicorn's own access log is off: the service's line says the same and more.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True
