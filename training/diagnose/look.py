"""Arrays in, numbers out: what generated pictures are beside those that the generator learnt from.

Every number has its reference: the same with real pictures, drawn apart, in the place of the
generated ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset, Images
from training.diagnose.modes import Bins, Features, Mode, missing_share
from training.diagnose.neighbours import Nearest, Points, nearest, points_of
from training.diagnose.record import Metric
from training.metrics.coverage import neighbourhood

NEIGHBOURS = 5
COPY = 0.5
"""Of the median distance between a training picture and the nearest other: nearer is a copy.

The mean of a cloud, which no blurring can beat, is still at 1 / sqrt(2) = 0.71 of the distance of
two of its points.
"""


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen.

    Args:
        metrics: by name.
        modes: bins of the training pictures.
        nearest: of each generated picture, among the training pictures.
        real: principal components of as many real pictures, [n, D].
        generated: those of generated ones, [n, D].
    """

    metrics: dict[str, Metric]
    modes: list[Mode]
    nearest: Nearest
    real: Features
    generated: Features


def look(data: Dataset, pictures: Images, seed: int) -> Look:
    """Compare generated pictures, uint8 [M, H, W, C], with all that they were learnt from."""
    training, points = points_of(data.images), points_of(pictures)
    order = np.random.default_rng(seed).permutation(len(training))
    count = max(2, min(len(points), len(training) // 2))  # of either half, and of generated ones
    halves = order[:count], order[-count:]
    bins = Bins(training, data.labels, data.classes)
    found = nearest(points, training)
    metrics: dict[str, Metric] = {}

    def keep(name: str, value: float, reference: float, protocol: str) -> None:
        metrics[name] = Metric(
            value=value, reference=reference, samples=len(points), protocol=protocol
        )

    beside = [nearest(training[rows], training, rows).distance for rows in halves]
    unit = max(float(np.median(beside[0])), 1e-6)
    keep(
        "copies",
        float(np.mean(found.distance < COPY * unit)),
        float(np.mean(beside[1] < COPY * unit)),
        f"share nearer to a training picture than {COPY} of the median of those to one another",
    )
    keep(
        "near_real",
        float(np.median(found.distance)) / unit,
        float(np.median(beside[1])) / unit,
        "median distance to the nearest training picture, over that of those to one another",
    )
    modes = bins.modes(points)
    keep(
        "missing_share",
        missing_share(modes),
        missing_share(bins.modes(training[halves[1]])),
        f"share of the training pictures in the kinds, of {len(modes)} by k-means, never made",
    )
    keep(
        "near_fake",
        _spread(points[:count]) / unit_of(training[halves[0]]),
        _spread(training[halves[1]]) / unit_of(training[halves[0]]),
        f"median distance to the nearest other of {count} generated pictures, over real ones",
    )
    real, generated = bins.components(training[halves[0]]), bins.components(points[:count])
    _add_neighbourhood(metrics, real, generated, bins.components(training[halves[1]]))
    return Look(metrics, modes, found, real, generated)


def unit_of(real: Points) -> float:
    """The median distance of real pictures to the nearest other, never 0."""
    return max(_spread(real), 1e-6)


def _spread(points: Points) -> float:
    return float(np.median(nearest(points, points, np.arange(len(points))).distance))


def _add_neighbourhood(
    metrics: dict[str, Metric], real: Features, generated: Features, other: NDArray[np.floating]
) -> None:
    """Precision, recall, density and coverage in principal components."""
    k = min(NEIGHBOURS, len(real) - 1)
    ours, reference = neighbourhood(real, generated, k), neighbourhood(real, other, k)
    for name, value in vars(ours).items():
        metrics[name] = Metric(
            value=value,
            reference=getattr(reference, name),
            samples=len(real),
            protocol=f"{k} nearest neighbours, {real.shape[1]} principal components of the pixels",
        )
