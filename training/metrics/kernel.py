"""The kernel distance between two sets of features: unbiased, and so fit for few samples.

The squared maximum mean discrepancy (Gretton et al. 2012) by the polynomial kernel of Binkowski et
al. 2018 (arXiv:1801.01401), section 4: (x.y / D + 1)^3. It is called KID only for the features of
Inception-v3. Its expectation does not depend on the number of samples and is 0 for equal
distributions, so that a figure of real against real images can be negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
Kernel = NDArray[np.float64]

SUBSETS, SUBSET_SIZE = 50, 1_000


@dataclass(frozen=True)
class KernelDistance:
    """``value``: the mean over subsets; ``spread``: their standard deviation."""

    value: float
    spread: float


def kernel_distance(
    real: Features,
    generated: Features,
    subsets: int = SUBSETS,
    size: int = SUBSET_SIZE,
    seed: int = 0,
) -> KernelDistance:
    """Between real [N, D] and generated [M, D], by subsets drawn from the seed.

    Args:
        real: features.
        generated: likewise.
        subsets: how many pairs of subsets.
        size: of each subset, without replacement; at most half of the smaller set, so that
            subsets differ.
        seed: of the choice.
    """
    size = subset_size(len(real), len(generated), size)
    random = np.random.default_rng(seed)
    found = [
        squared_discrepancy(
            real[random.choice(len(real), size, replace=False)],
            generated[random.choice(len(generated), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(found)), float(np.std(found)))


def subset_size(real: int, generated: int, size: int = SUBSET_SIZE) -> int:
    """Of the subsets of sets of these sizes."""
    size = min(size, real // 2, generated // 2)
    if size < 2:
        raise ValueError(f"{real} and {generated} samples are too few: each set needs 4 or more")
    return size


def squared_discrepancy(x: Features, y: Features) -> float:
    """The unbiased estimate of MMD^2 of [N, D] and [M, D]; Gretton et al. 2012, lemma 6."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    within = [
        (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (_kernel(x, x), _kernel(y, y))
    ]
    return float(sum(within) - 2 * _kernel(x, y).mean())


def _kernel(x: Features, y: Features) -> Kernel:
    kernel: Kernel = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel
