"""What is measured all the time, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service.metrics import Metrics

PERIOD_S = 0.25


async def beat(metrics: Metrics, lives: Callable[[], None]) -> None:
    """Measure how late the event loop is, and show what is read rather than counted; for ever.

    Args:
        metrics: where it is shown.
        lives: called at every beat, hence no more once the event loop hangs.
    """
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + PERIOD_S
        await asyncio.sleep(PERIOD_S)
        metrics.event_loop_lag_seconds.observe(max(0.0, loop.time() - due_s))
        metrics.refresh()
        lives()
