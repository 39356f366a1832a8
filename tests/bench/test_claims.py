"""Claims held against seeds: the interval, and the three verdicts."""

from __future__ import annotations

import math

import pytest

from bench.claims import Claim, interval

GREATER = Claim("a > b", "figure", "a", "b")
AT_LEAST = Claim("a >= b", "figure", "a", "b", margin=0.05)


@pytest.mark.parametrize(
    ("values", "mean", "half_width"),
    [
        # Student's 97.5 % quantiles from a printed table: 12.706, 4.303 and 2.776.
        ([0.0, 2.0], 1.0, 12.706 * math.sqrt(2) / math.sqrt(2)),
        ([1.0, 2.0, 3.0], 2.0, 4.303 / math.sqrt(3)),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 3.0, 2.776 * math.sqrt(2.5) / math.sqrt(5)),
        ([4.0, 4.0, 4.0], 4.0, 0.0),
    ],
)
def test_the_interval_is_students(values: list[float], mean: float, half_width: float) -> None:
    found = interval(values)
    assert found.mean == pytest.approx(mean)
    assert found.half_width == pytest.approx(half_width, rel=1e-3)
    assert (found.low, found.high) == pytest.approx((mean - half_width, mean + half_width), 1e-3)


def test_one_seed_decides_nothing() -> None:
    found, verdict = GREATER.verdict([1.0], [0.0])
    assert (found.mean, found.half_width, verdict) == (1.0, math.inf, "undecided")


@pytest.mark.parametrize(
    ("greater", "less", "verdict"),
    [
        ([0.9, 0.8, 0.7], [0.5, 0.4, 0.3], "agreed"),
        ([0.5, 0.4, 0.3], [0.9, 0.8, 0.7], "contradicted"),
        ([0.5, 0.6, 0.4], [0.4, 0.5, 0.6], "undecided"),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], "undecided"),
    ],
)
def test_verdicts(greater: list[float], less: list[float], verdict: str) -> None:
    assert GREATER.verdict(greater, less)[1] == verdict


def test_seeds_are_compared_with_themselves() -> None:
    # Seeds differ by far more than the rows do, and yet each says the same.
    assert GREATER.verdict([0.11, 0.51, 0.91], [0.1, 0.5, 0.9])[1] == "agreed"


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([-0.03, -0.03, -0.03], "agreed"),
        ([-0.07, -0.07, -0.07], "contradicted"),
        ([-0.02, -0.05, -0.08], "undecided"),
    ],
)
def test_at_least_allows_a_margin(differences: list[float], verdict: str) -> None:
    assert AT_LEAST.verdict(differences, [0.0, 0.0, 0.0])[1] == verdict
