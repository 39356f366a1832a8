"""The Frechet distance between two sets of features, each taken for a Gaussian.

It is called FID only for the features of one particular Inception-v3 (Heusel et al. 2017,
arXiv:1706.08500). In other features it is another number: name it after them, and print the number
of samples and the distance of real from real, because it shrinks as the samples grow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """``mean`` [D] and ``covariance`` [D, D], float64."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def gaussian(features: Features) -> Gaussian:
    """The Gaussian with the moments of features [N, D]; unbiased covariance, N at least 2."""
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be [N >= 2, D], not {list(features.shape)}")
    rows = features.astype(np.float64)
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    return Gaussian(rows.mean(axis=0), covariance)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared 2-Wasserstein distance of two Gaussians (Dowson & Landau 1982).

    |m_a - m_b|^2 + tr(A) + tr(B) - 2 tr((A^1/2 B A^1/2)^1/2), where the last trace has the same
    eigenvalues as (A B)^1/2 but is of a symmetric matrix, and so stays real when A or B is
    singular.
    """
    root = _root(a.covariance)
    product = root @ b.covariance @ root
    overlap = np.sqrt(np.linalg.eigvalsh(product).clip(min=0)).sum()
    shift = ((a.mean - b.mean) ** 2).sum()
    spread = np.trace(a.covariance) + np.trace(b.covariance)
    return max(0.0, float(shift + spread - 2 * overlap))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root
