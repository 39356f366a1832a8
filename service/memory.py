"""Memory that was freed, back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Let the system have what closed models freed; blocks for some milliseconds.

    glibc keeps freed memory, in an arena for each thread that ever asked for some. Every model that
    is opened has threads of its own: without this, hundreds of reloads took half as much again.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)
