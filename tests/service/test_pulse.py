"""What is measured all the time."""

from __future__ import annotations

import asyncio

import pytest

from service import pulse
from service.metrics import Metrics

pytestmark = pytest.mark.anyio


async def test_every_beat_measures_the_lag_and_shows_what_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulse, "PERIOD_S", 0.0)
    metrics, beats, refreshed = Metrics(), asyncio.Semaphore(0), asyncio.Semaphore(0)
    monkeypatch.setattr(metrics, "refresh", refreshed.release)
    task = asyncio.create_task(pulse.beat(metrics, beats.release))
    for _ in range(3):
        await refreshed.acquire()
        await beats.acquire()  # the event loop turns: that is told too
    task.cancel()
    count = metrics.registry.get_sample_value("ganymede_event_loop_lag_seconds_count")
    assert count is not None
    assert count >= 3
