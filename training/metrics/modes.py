"""How many modes of a known distribution are found, and how evenly? Arrays in, numbers out.

The protocol of Srivastava et al. 2017 (VEEGAN, arXiv:1705.07761) and Lin et al. 2018 (PacGAN,
arXiv:1712.04086): the mode of a sample is the nearest one, a sample within three standard
deviations of it is of high quality, and a mode is found if it has at least one such sample (papers
differ here; some ask for 20). The divergence is KL(generated || uniform) over the modes, of all
samples. Even a perfect sampler's is not 0: (K - 1) / 2N in expectation, for K modes and N samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.metrics.judge import Images, Judge, Labels

WITHIN = 3.0  # standard deviations
Points = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Modes:
    """What was found.

    Args:
        found: modes with at least one sample (of high quality, where that is known).
        reverse_kl: KL(generated || uniform), in nats.
        high_quality: share of the samples; none where modes have no spread.
    """

    found: int
    reverse_kl: float
    high_quality: float | None = None


def modes_of_points(points: Points, centres: Points, sigma: float) -> Modes:
    """Of N points [N, D] around equally likely centres [K, D], each with deviation ``sigma``."""
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    nearest = distances.argmin(axis=1)
    good = distances.min(axis=1) <= WITHIN * sigma
    counts = np.bincount(nearest, minlength=len(centres))
    found = len(np.unique(nearest[good]))
    return Modes(found, reverse_kl(counts), float(good.mean()))


def modes_of_labels(labels: Labels, classes: int) -> Modes:
    """Of N labels in [0, classes), as a classifier gave them to samples."""
    counts = np.bincount(labels, minlength=classes)
    return Modes(int((counts > 0).sum()), reverse_kl(counts))


def reverse_kl(counts: NDArray[np.integer[Any]]) -> float:
    """KL(counts as shares || uniform), in nats: log K where all is in one mode."""
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log(shares * len(counts))).sum())


def stacked_labels(judge: Judge, images: Images) -> Labels:
    """The number, 0 to 999, that a judge of digits reads in three digits stacked as colours.

    Args:
        judge: of grey digits.
        images: [N, H, W, 3] uint8; red is the hundreds, blue the ones.
    """
    hundreds, tens, ones = (judge.look(images[..., c : c + 1]).labels for c in range(3))
    return 100 * hundreds + 10 * tens + ones
