"""What a paper claims of two rows, held against runs from the same seeds.

Each seed gives a difference; their mean has a Student interval. A claim is agreed with when all of
the interval is on its side, contradicted when all of it is on the other, and undecided otherwise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import t as student

Verdict = Literal["agreed", "contradicted", "undecided"]
COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, and how far it may be off; of one seed, by anything."""

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half_width


def interval(values: Sequence[float]) -> Interval:
    """Student's interval of a mean."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, math.inf)
    quantile = float(student.ppf((1 + COVERAGE) / 2, len(values) - 1))
    return Interval(mean, quantile * statistics.stdev(values) / math.sqrt(len(values)))


@dataclass(frozen=True)
class Claim:
    """That a figure is greater in one row than in another.

    Args:
        text: as a table has it.
        figure: the name of what is compared.
        greater: the row that should have more of it.
        less: the row that should have less; empty: greater than 0 itself.
        margin: by which it may be less and still count as equal, for a claim of "at least".
    """

    text: str
    figure: str
    greater: str
    less: str = ""
    margin: float = 0.0

    def verdict(self, greater: Sequence[float], less: Sequence[float]) -> tuple[Interval, Verdict]:
        """The difference over the seeds, and what it says.

        Args:
            greater: the figure of the first row for each seed.
            less: that of the second, for the same seeds.
        """
        found = interval([a - b for a, b in zip(greater, less, strict=True)])
        if found.low > -self.margin:
            return found, "agreed"
        return found, "contradicted" if found.high < -self.margin else "undecided"
