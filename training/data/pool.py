"""Work on many files at once, with few in flight."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Each worker may hold a decoded picture of 67 megapixels.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WORKERS = max(2, min(8, CORES))
IN_FLIGHT = 4 * WORKERS


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """``map`` in threads: Pillow, zlib and hashlib let go of the interpreter while they work.

    Close it (``contextlib.closing``) to stop early: what has not started is never run.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(WORKERS, "ganymede-data") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == IN_FLIGHT:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
