"""How far a measurement is: bars on a terminal, a line every tenth of a step elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from training.data.progress import Progress, progress_bars

LINE_EVERY = 0.1  # of a step


@contextmanager
def shown() -> Iterator[Progress]:
    """A ``Progress`` that people see on standard error."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with progress_bars() as report:
        yield report


class _Lines:
    """A step is taken to begin when the step before it was last heard of."""

    def __init__(self) -> None:
        self._heard = time.monotonic()
        self._began: dict[str, float] = {}
        self._printed: dict[str, float] = {}

    def __call__(self, step: str, done: int, total: int) -> None:
        began = self._began.setdefault(step, self._heard)
        self._heard = time.monotonic()
        share = done / max(total, 1)
        if share - self._printed.get(step, 0.0) < LINE_EVERY and done < total:
            return
        self._printed[step] = share
        left_s = (self._heard - began) * (1 / share - 1) if share else 0.0
        print(f"{step} {share:4.0%}  {left_s:,.0f} s left", file=sys.stderr, flush=True)
