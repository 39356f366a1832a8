"""A normal distribution of one variable: its density, and equally likely values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def levels(count: int) -> Tensor:
    """The middles of ``count`` equal parts of [0, 1], [count] float64."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@dataclass(frozen=True)
class Gaussian:
    """N(mean, deviation^2); both may learn."""

    mean: float | Tensor
    deviation: float | Tensor = 1.0

    def log_density(self, x: Tensor) -> Tensor:
        """Of each value of ``x``."""
        spread = torch.as_tensor(self.deviation, dtype=x.dtype)
        scaled = (x - self.mean) / spread
        return -scaled.square() / 2 - spread.log() - math.log(2 * math.pi) / 2

    def density(self, x: Tensor) -> Tensor:
        """Of each value of ``x``."""
        return self.log_density(x).exp()

    def quantiles(self, count: int) -> Tensor:
        """Equally likely values, [count]: a mean over them is an integral, without noise."""
        values: Tensor = self.mean + self.deviation * torch.special.ndtri(levels(count))
        return values.float()
