"""How evenly do samples fill the bins of the real data? After Richardson & Weiss 2018.

arXiv:1805.12462, section 3: K-means of the training data makes the bins, and samples go to the
nearest centre. NDB counts the bins whose share of the samples differs from that of the training
data, by a two-proportion z-test at 5 %; JSD is the Jensen-Shannon divergence of the shares, in
nats. By chance about one bin in twenty differs: print NDB of held-out real data beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from training.metrics.coverage import squared_distances
from training.metrics.divergence import jensen_shannon

BINS = 100
STANDARD_ERRORS = NormalDist().inv_cdf(1 - 0.05 / 2)

Points = NDArray[np.floating[Any]]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Bins:
    """``centres`` [K, D], and how many of the reference points [N, D] fell into each, [K]."""

    centres: Points
    counts: Counts


@dataclass(frozen=True)
class BinScore:
    """``different``: NDB, of all bins; ``jsd``: in nats, at most log 2."""

    different: int
    jsd: float


def make_bins(reference: Points, count: int = BINS, seed: int = 0) -> Bins:
    """Bins of the reference points [N, D], by K-means from the seed."""
    if len(reference) < count:
        raise ValueError(f"{count} bins need as many points, not {len(reference)}")
    means = KMeans(count, n_init=1, max_iter=100, random_state=seed).fit(reference)
    return Bins(means.cluster_centers_, np.bincount(means.labels_, minlength=count))


def bin_score(bins: Bins, points: Points, limit: float = STANDARD_ERRORS) -> BinScore:
    """How the points [M, D] fill the bins, beside the reference; ``limit`` in standard errors."""
    nearest = np.concatenate(
        [distance.argmin(axis=1) for _, distance in squared_distances(points, bins.centres)]
    )
    counts = np.bincount(nearest, minlength=len(bins.counts))
    reference, found = (each / each.sum() for each in (bins.counts, counts))
    return BinScore(
        different_bins(bins.counts, counts, limit), jensen_shannon(reference, found, 1.0)
    )


def different_bins(one: Counts, other: Counts, limit: float = STANDARD_ERRORS) -> int:
    """In how many bins do the shares differ? A two-proportion z-test, pooled, two-tailed."""
    n, m = one.sum(), other.sum()
    pooled = (one + other) / (n + m)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    difference = np.abs(one / n - other / m)
    return int((difference > limit * error).sum())
