"""Fidelity and variety apart, from the k nearest neighbours of features.

Each real (or generated) point owns a ball that reaches to its k-th nearest neighbour in its own
set; the four numbers count which points of the other set lie in which balls. ``precision`` and
``recall``: Kynkaanniemi et al. 2019 (arXiv:1904.06991), equations 1 and 2. ``density`` and
``coverage``: Naeem et al. 2020 (arXiv:2002.09797), section 3. All depend on the number of
points; a perfect sampler reaches neither precision nor coverage 1, so print real against real.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
Distances = NDArray[np.float64]

_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Neighbourhood:
    """The four numbers; each in [0, 1] but ``density``, which can pass 1.

    Args:
        precision: the share of generated points inside a real ball.
        recall: the share of real points inside a generated ball.
        density: real balls around a generated point, over k; less moved by outliers.
        coverage: the share of real balls that hold a generated point.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhood(real: Features, generated: Features, k: int = 5) -> Neighbourhood:
    """Compare real [N, D] with generated [M, D]; both need more than k points.

    Distances are Euclidean; memory is bounded whatever N and M.
    """
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    real_radius, generated_radius = ball_radius(real, k), ball_radius(generated, k)
    in_real = np.zeros(len(generated), np.int64)
    in_generated = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    for rows, distance in squared_distances(real, generated):
        inside = distance <= real_radius[rows, None]
        in_real += inside.sum(axis=0)
        covered[rows] = inside.any(axis=1)
        in_generated[rows] = (distance <= generated_radius).any(axis=1)
    return Neighbourhood(
        precision=float(np.mean(in_real > 0)),
        recall=float(np.mean(in_generated)),
        density=float(np.mean(in_real) / k),
        coverage=float(np.mean(covered)),
    )


def ball_radius(points: Features, k: int) -> Distances:
    """The squared distance of each point [N, D] to its k-th nearest other point, [N]."""
    if not 0 < k < len(points):
        raise ValueError(f"k is {k}: it must be 1 to {len(points) - 1} for {len(points)} points")
    radius = np.empty(len(points))
    for rows, distance in squared_distances(points, points):
        span = range(len(points))[rows]
        distance[np.arange(len(span)), span] = np.inf  # no point is its own neighbour
        radius[rows] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return radius


def squared_distances(a: Features, b: Features) -> Iterator[tuple[slice, Distances]]:
    """Squared Euclidean distances of a few rows of ``a`` at a time to all of ``b``.

    |a - b|^2 = |a|^2 + |b|^2 - 2 a.b, about a common centre, where less is lost to rounding.
    """
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    a_square, b_square = (a**2).sum(axis=1), (b**2).sum(axis=1)
    step = max(1, _CHUNK_BYTES // (8 * len(b)))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        distance = a_square[rows, None] + b_square - 2 * (a[rows] @ b.T)
        yield rows, distance.clip(min=0, out=distance)
