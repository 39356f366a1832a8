"""Equally likely Gaussians in the plane: distributions whose every mode is known."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.recipe import Batch


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussians around ``centres`` [K, 2], each with deviation ``sigma`` in both directions."""

    centres: NDArray[np.float64]
    sigma: float

    def sample(self, count: int, random: np.random.Generator) -> NDArray[np.float64]:
        """Points [count, 2]."""
        chosen = self.centres[random.integers(0, len(self.centres), count)]
        return chosen + self.sigma * random.standard_normal((count, 2))


def ring(modes: int = 8, sigma: float = 0.01) -> Mixture:
    """Centres at equal distances on the unit circle."""
    angles = 2 * math.pi * np.arange(modes) / modes
    return Mixture(np.stack([np.cos(angles), np.sin(angles)], 1), sigma)


def grid(side: int = 5, spacing: float = 2.0, sigma: float = 0.05) -> Mixture:
    """``side`` x ``side`` centres around the origin."""
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return Mixture(np.array(list(itertools.product(line, line))), sigma)


@dataclass(frozen=True)
class Draws:
    """Fresh points for each batch, which depends on (mixture, seed, k) alone: a ``Source``."""

    mixture: Mixture
    size: int
    seed: int
    device: torch.device

    def batch(self, k: int) -> Batch:
        """The ``k``-th batch; ``x`` is [size, 2] rather than pictures."""
        key = np.array([self.seed, k], np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        return Batch(torch.from_numpy(self.mixture.sample(self.size, random)).float())
