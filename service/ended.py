"""Requests that have ended, counted together: those of one step of the event loop, by how they did.

Each value of a series is written to a file that all workers share, which takes a microsecond. One
by one, a request's dozen values would take as long as a tenth of a small picture.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import Counter
from prometheus_client import Histogram as PlainHistogram


class Ended(NamedTuple):
    """One request; ``exemplar`` names its trace."""

    route: str
    model: str
    status: int
    seconds: float
    phases_s: Mapping[Any, float]  # by phase
    images: int
    exemplar: dict[str, str] | None = None

    @property
    def kind(self) -> tuple[str, str, int]:
        """What requests that are counted together have in common."""
        return self[:3]


class Histogram(PlainHistogram):
    """A histogram that takes in several amounts at once."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """As ``observe`` of each."""
        self._raise_if_not_observable()  # type: ignore[no-untyped-call]
        self._sum.inc(sum(amounts))
        buckets = Counts(bisect_left(self._upper_bounds, amount) for amount in amounts)
        for bucket, count in buckets.items():
            self._buckets[bucket].inc(count)


class Series(NamedTuple):
    """What counts the requests of one kind: to look each up by its labels takes longer."""

    total: Counter
    phases: Mapping[str, Histogram]
    seconds: Histogram | None  # of answers alone: refusals must not flatter the quantiles
    images: Counter | None

    def observe(self, alike: Sequence[Ended]) -> None:
        """Count requests of this kind, at least one."""
        self.total.inc(len(alike))
        for phase, histogram in self.phases.items():
            if spent_s := [each.phases_s[phase] for each in alike if phase in each.phases_s]:
                histogram.observe_all(spent_s)
        if self.seconds is not None:
            if unnamed_s := [each.seconds for each in alike if each.exemplar is None]:
                self.seconds.observe_all(unnamed_s)
            for each in alike:
                if each.exemplar is not None:
                    self.seconds.observe(each.seconds, each.exemplar)
        if self.images is not None:
            self.images.inc(sum(each.images for each in alike))
