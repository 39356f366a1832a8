"""The rate that h2load is asked for, and what it logged."""

from __future__ import annotations

import pytest

from bench.h2load import CONNECTIONS, Pace, parse
from bench.loads import WARM_S

PACE = Pace(rate=100, seconds=2)
COUNTED_S = PACE.opening_s + WARM_S


def log(*rows: tuple[float, int, float]) -> str:
    """Lines of (sent, in seconds after the first), status, and milliseconds."""
    first = "1795344714000000\t200\t1000"
    lines = [f"{1795344714000000 + round(at * 1e6)}\t{code}\t{ms * 1000:.0f}\textra"
             for at, code, ms in rows]  # fmt: skip
    return "\n".join([first, *lines]) + "\n"


def test_only_what_was_sent_in_the_counted_time_counts() -> None:
    inside = COUNTED_S + 0.5
    found = parse(log((COUNTED_S - 0.1, 200, 5), (inside, 200, 5), (COUNTED_S + 2.1, 200, 5)), PACE)
    assert found.requests_per_s == pytest.approx(0.5)


def test_each_answer_is_good_or_late_or_refused_or_failed() -> None:
    at = COUNTED_S + 0.5
    rows = [(at, 200, 10), (at, 200, 1500), (at, 429, 2), (at, 503, 4), (at, -1, 0), (at, 500, 1)]
    found = parse(log(*rows), PACE)
    assert (found.requests_per_s, found.late_per_s, found.refused_per_s) == (0.5, 0.5, 1)
    assert found.failed == 2
    assert found.refused_p99_ms == pytest.approx(4, rel=0.01)
    assert found.p99_ms == pytest.approx(1500, rel=0.01)  # accepted, if late


def test_nothing_answered_has_no_latency() -> None:
    found = parse(log((COUNTED_S, 429, 1)), PACE)
    assert (found.requests_per_s, found.p99_ms) == (0, 0)


@pytest.mark.parametrize("rate", [7, 500, 2048, 30000])
def test_connections_share_the_rate_and_open_within_one_of_their_periods(rate: float) -> None:
    pace = Pace(rate, seconds=4)
    assert pace.connections == min(rate, CONNECTIONS)
    each_per_s = rate / pace.connections
    assert pace.opening_s == pytest.approx(1 / each_per_s)
    requests = int(next(one for one in pace.options() if one.startswith("-n"))[2:])
    assert requests % pace.connections == 0
    assert requests >= rate * pace.whole_s
