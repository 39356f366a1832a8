"""How far apart are pictures from one another? In features, by the mean over pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.metrics.coverage import squared_distances

Features = NDArray[np.floating]


def pairwise_distance(
    features: Features, groups: NDArray[np.integer] | None = None, *, squared: bool = False
) -> float:
    """The mean Euclidean distance of two different pictures.

    Args:
        features: [N, D].
        groups: [N]: pairs are of one group alone (one class, one input), each pair counting the
            same; none: all pairs.
        squared: the mean of its square.
    """
    groups = np.zeros(len(features), np.int64) if groups is None else groups
    total, pairs = 0.0, 0
    for group in np.unique(groups):
        members = features[groups == group].astype(np.float64)
        for rows, found in squared_distances(members, members):
            span = np.arange(rows.start, rows.stop)
            found[span - rows.start, span] = 0  # no rounding where a picture meets itself
            total += (found if squared else np.sqrt(found, out=found)).sum()
        pairs += len(members) * (len(members) - 1)
    if pairs == 0:
        raise ValueError("diversity needs two pictures of one group")
    return float(total / pairs)
