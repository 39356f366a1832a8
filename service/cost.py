"""What a run costs: measured when a model is loaded, and refined by every run after that.

Pure: the runs and their times are given by the caller. The work of a row is counted in the elements
of its inputs, which is what rows know of themselves; where the size of the pictures is free, noise
maps and images grow with their pixels, and so does the cost.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from statistics import median

logger = logging.getLogger(__name__)

RUNS = 5  # of each bucket, at most; the median counts
BUDGET_S = 0.25  # of all timed runs of one layout of lanes; first runs, which allocate, come on top
WORTH = 0.97  # a choice counts as equal to the best from this share of its rate on

_NEWEST_WEIGHT = 0.1
_LARGEST_STEP = 4.0  # one stall, or one lucky run, changes little
_KEPT_SHAPES = 64


async def measure(
    run: Callable[[int], Awaitable[float]],
    buckets: Sequence[int],
    *,
    budget_s: float = BUDGET_S,
    every: bool = False,
) -> dict[int, float]:
    """The seconds of a run for each bucket; at least for the first.

    A device that has used up the budget for small buckets gains nothing by larger ones: these are
    left out, unless ``every`` bucket is wanted. A run that took longer than one of more rows was
    disturbed by something else, and counts as long as that one. A bucket that fails where a smaller
    one did not is more than the device can hold, and ends the list.

    Args:
        run: makes one run of so many rows, and tells its seconds.
        buckets: numbers of rows, ascending.
        budget_s: of all timed runs.
        every: measure all buckets, whatever they take.

    Raises:
        Exception: what ``run`` raised for the first bucket.
    """
    found: dict[int, float] = {}
    spent_s = 0.0
    for bucket in buckets:
        try:
            await run(bucket)
            times = [await run(bucket)]
            while len(times) < RUNS and sum(times) < budget_s / len(buckets):
                times.append(await run(bucket))
        except Exception:
            if not found:
                raise
            logger.warning("%d rows at once fail, and fewer do not", bucket, exc_info=True)
            break
        found[bucket] = median(times)
        spent_s += sum(times)
        if spent_s >= budget_s and not every:
            break
    for larger, smaller in pairwise(reversed(found)):
        found[smaller] = min(found[smaller], found[larger])
    return found


class CostTable:
    """The seconds of one run, by its rows and by the input elements of a row.

    Args:
        measured: row elements -> bucket -> seconds, with at least one of each.
    """

    def __init__(self, measured: dict[int, dict[int, float]]) -> None:
        if not measured or not all(measured.values()):
            raise ValueError("a cost table needs at least one measured bucket of each shape")
        self.largest_work = max(measured)  # the most row elements that were measured
        self._seconds = {work: dict(sorted(column.items())) for work, column in measured.items()}

    def columns(self) -> dict[int, dict[int, float]]:
        """Row elements -> bucket -> seconds, as far as they are known."""
        return {work: dict(column) for work, column in self._seconds.items()}

    def column(self, row_elements: int) -> dict[int, float]:
        """Bucket -> seconds, for rows of a shape; scaled from the nearest when it is a new one."""
        known = self._seconds.get(row_elements)
        if known is not None:
            return known
        nearest = min(self._seconds, key=lambda work: abs(work - row_elements))
        factor = row_elements / nearest
        return {bucket: factor * s for bucket, s in self._seconds[nearest].items()}

    def seconds_for(self, rows: int, row_elements: int) -> float:
        """The predicted time of one run; beyond the largest bucket it grows with the rows."""
        column = self.column(row_elements)
        bucket = _bucket(column, rows)
        return column[bucket] * max(1.0, rows / bucket)

    def observe(self, rows: int, row_elements: int, seconds: float) -> float:
        """Take in one run; returns the measured over the predicted time."""
        ratio = seconds / self.seconds_for(rows, row_elements)
        step = min(max(ratio, 1 / _LARGEST_STEP), _LARGEST_STEP)
        column = self.column(row_elements)
        if row_elements not in self._seconds and len(self._seconds) < _KEPT_SHAPES:
            column = {bucket: step * s for bucket, s in column.items()}
            self._seconds[row_elements] = column
        else:
            column[_bucket(column, rows)] *= 1 + _NEWEST_WEIGHT * (step - 1)
        return ratio

    def possible_rows(self, rows: int, row_elements: int) -> int:
        """The part of a batch of ``rows`` that holds no more elements than one that was measured.

        Larger rows than any that was measured gain less by company, and need more memory.
        """
        return max(1, min(rows, rows * self.largest_work // row_elements))

    def useful_rows(self, row_elements: int) -> int:
        """The smallest bucket whose rate is all but the best: larger ones only add delay."""
        column = self.column(row_elements)
        best = max(bucket / s for bucket, s in column.items())
        return next(bucket for bucket, s in column.items() if bucket / s >= WORTH * best)


class Caution:
    """By how much predictions are stretched so that nine requests in ten keep to them.

    Under overload every accepted request is one that was just about possible: were predictions
    right on average, half of them would be late. What is not in the table is learnt here too: who
    comes later and is served first, and what else the cores are doing. A running quantile.
    """

    KEPT = 0.9
    STEP = 0.02
    LARGEST = 4.0

    def __init__(self) -> None:
        self.factor = 1.0

    def learn(self, predicted_s: float, took_s: float) -> None:
        """Take in one request; ``predicted_s`` without the factor."""
        late = took_s > predicted_s * self.factor
        self.factor += self.STEP * (self.KEPT if late else self.KEPT - 1)
        self.factor = min(max(self.factor, 1.0), self.LARGEST)


def _bucket(column: dict[int, float], rows: int) -> int:
    """The bucket that ``rows`` run in, or the largest."""
    if rows in column:
        return rows
    buckets = list(column)
    return buckets[min(bisect_left(buckets, rows), len(buckets) - 1)]
