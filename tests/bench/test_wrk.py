"""What wrk printed, as figures."""

from __future__ import annotations

import pytest

from bench import wrk

PRINTED = """Running 2s test @ http://127.0.0.1:8000/generate
  8 threads and 8 connections

RESULT {"requests": 900, "microseconds": 2000000, "p50": 1500, "p99": 20000, %s}
"""


def test_refusals_are_not_answers() -> None:
    found = wrk.parse(PRINTED % '"refused": 100, "failed": 3', images=16)
    assert (found.requests_per_s, found.images_per_s) == (400, 6400)
    assert (found.refused_per_s, found.failed) == (50, 3)


def test_latencies_are_in_milliseconds() -> None:
    found = wrk.parse(PRINTED % '"refused": 0, "failed": 0', images=1)
    assert (found.p50_ms, found.p99_ms) == pytest.approx((1.5, 20))
