"""When to stop before the end: Ctrl-C, SIGTERM, or a time budget."""

from __future__ import annotations

import os
import re
import signal
import time
from types import FrameType, TracebackType

from training.errors import ConfigError

STDERR = 2
UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}


class Stop:
    """Asked once per step; says no once a signal came or the budget is used up.

    As a context manager it takes over SIGINT and SIGTERM; a second Ctrl-C is the usual
    KeyboardInterrupt. ``reason`` is empty until it has stopped something; ``status`` is the exit
    status that says why: 128 and the signal's number, as a shell has it, or 0.
    """

    def __init__(self, budget_s: float | None = None) -> None:
        self.reason, self.status = "", 0
        self._ends = None if budget_s is None else time.monotonic() + budget_s

    def __call__(self) -> bool:
        """Whether to stop now."""
        if not self.reason and self._ends is not None and time.monotonic() >= self._ends:
            self.reason = "the time budget is used up"
        return bool(self.reason)

    def __enter__(self) -> Stop:
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.reason and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.reason:  # not print: the signal may have interrupted one
            os.write(STDERR, b"\nstopping after this step; Ctrl-C again to abort\n")
        self.reason, self.status = f"{signal.Signals(number).name} came", 128 + number


def parse_duration(text: str | None) -> float | None:
    """``90``, ``90s``, ``10m``, ``1.5h`` in seconds; none stays none.

    Raises:
        ConfigError: anything else, or zero.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if not match or not float(match[1]):
        raise ConfigError(f"a time budget is written as 90s, 10m or 1.5h, not {text!r}")
    return float(match[1]) * UNITS_S[match[2]]
