"""How near pictures are to what they were made from, and spaces to one another."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training.metrics.judge import Images


def psnr_db(found: Images, truth: Images) -> float:
    """The peak signal-to-noise ratio over all the pixels of uint8 pictures; infinite when equal."""
    error = float(np.square(found.astype(np.float64) - truth).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def largest_angle_degrees(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """The largest principal angle between the spaces that two sets of rows [Z, D] span.

    Bjorck & Golub 1973: 0 when they are one space, 90 when a direction of one is missing.
    """
    bases = [np.linalg.qr(rows.astype(np.float64).T)[0] for rows in (one, other)]
    cosines = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return math.degrees(math.acos(min(1.0, cosines.min())))
