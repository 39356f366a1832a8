"""Divergences of two densities by quadrature, and what a discriminator says about them; in nats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Density = NDArray[np.floating[Any]]
Number = TypeVar("Number", float, "Tensor")


def kullback_leibler(p: Density, q: Density, step: float) -> float:
    """KL(p || q) of densities on a grid of that step; infinite where q is 0 and p is not."""
    held = p > 0
    if (q[held] == 0).any():
        return math.inf
    return float((p[held] * np.log(p[held] / q[held])).sum() * step)


def jensen_shannon(p: Density, q: Density, step: float) -> float:
    """The mean KL of both to their middle; log 2 at most, there where their supports are apart."""
    middle = (p + q) / 2
    return (kullback_leibler(p, middle, step) + kullback_leibler(q, middle, step)) / 2


def jensen_shannon_of_loss(minimax_d: Number) -> Number:
    """The divergence that a discriminator's loss tells: log 2 - loss / 2.

    Exact for the optimal discriminator, less for any other. Goodfellow et al. 2014
    (arXiv:1406.2661), theorem 1: the loss of the optimal one is log 4 - 2 JSD.
    """
    return math.log(2) - minimax_d / 2
