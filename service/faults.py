"""What failing batches say: is it a request, the size of the batch, or the device?

Poison fails alone, and those beside it come through. When everything comes through in smaller
pieces, again and again, the batches are too large for the device. When nothing comes through,
several times in a row, the device is suspected, and has to be asked. A lack of memory says so.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from service.rows import Rows

Verdict = Literal["fine", "too large", "suspect"]

TOO_LARGE_AFTER = 2  # batches that came through in pieces only
SUSPECT_AFTER = 3  # batches of which nothing came through

# ONNX Runtime has one exception for everything that goes wrong in a run: the words tell.
_OUT_OF_MEMORY = re.compile(
    r"failed to allocate memory|out ?of ?memory|bad allocation|_ALLOC_FAILED", re.IGNORECASE
)


class Faults:
    """The failures of late."""

    def __init__(self) -> None:
        self._in_pieces = 0
        self._in_pieces_rows = 0
        self._lost = 0

    def judge(self, rows: int, parts: int, failed_runs: int, failed_parts: int) -> Verdict:
        """Take in a batch that has ended; a verdict other than fine starts the count anew."""
        self._lost = self._lost + 1 if failed_parts == parts else 0
        if not failed_runs:
            if rows >= self._in_pieces_rows:
                self._in_pieces = 0
        elif not failed_parts:
            self._in_pieces_rows = min(rows, self._in_pieces_rows or rows)
            self._in_pieces += 1
        if self._in_pieces >= TOO_LARGE_AFTER:
            self._in_pieces = self._in_pieces_rows = 0
            return "too large"
        if self._lost >= SUSPECT_AFTER:
            self._lost = 0
            return "suspect"
        return "fine"


def is_out_of_memory(error: Exception) -> bool:
    """Whether a run failed because the device has too little memory for it."""
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


async def run_in_halves(run: Callable[[Sequence[Rows]], Awaitable[list[Rows]]], part: Rows) -> Rows:
    """The answer for the rows of one request that were too many for one run."""
    half = len(part) // 2
    return Rows.join([*await run([part[:half]]), *await run([part[half:]])])
