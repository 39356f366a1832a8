"""Several small GANs of the plane that learn side by side: each the game of ``recipes/gan.py``.

Their rows lie one pair after the other, S blocks of N / S. A mean over all rows is the mean of the
pairs' own means, so no pair feels another, and Adam does not mind that every gradient is 1 / S of
what it would be alone. On such small networks S pairs take little longer than one.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.config import ScheduleConfig
from training.lab.mixtures import Draws, Mixture
from training.lab.rehearsal import rehearse
from training.recipes.gan import GAN, ObjectiveConfig

HIDDEN, LAYERS = 128, 3
SAMPLES = 2_500
PAIR_BATCH = 128


class Linears(nn.Module):
    """S linear layers: [S, N, inputs] -> [S, N, outputs], begun as ``nn.Linear`` is."""

    def __init__(self, copies: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(copies, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(copies, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Each copy of its own rows."""
        return torch.baddbmm(self.bias, x, self.weight)


class Perceptrons(nn.Module):
    """S perceptrons: [S * N, inputs] -> [S * N, outputs]."""

    def __init__(self, copies: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.copies = copies
        layers: list[nn.Module] = []
        for a, b in pairwise((inputs, *[HIDDEN] * LAYERS, outputs)):
            layers += [Linears(copies, a, b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Each copy of its own rows."""
        outputs: Tensor = self.layers(x.view(self.copies, -1, x.shape[1]))
        return outputs.flatten(0, 1)


def plane_gans(config: ObjectiveConfig, copies: int) -> GAN:
    """The game, over points."""
    recipe = GAN(config)
    recipe.generator = Perceptrons(copies, config.latent, 2)
    recipe.discriminator = nn.Sequential(Perceptrons(copies, 2, 1), nn.Flatten(0))
    return recipe


def train_on(
    mixture: Mixture, config: ObjectiveConfig, copies: int, iterations: int, seed: int = 0
) -> NDArray[np.float64]:
    """Samples [copies, SAMPLES, 2] of the averaged generators after so many iterations.

    Raises:
        Diverged: one of them did.
    """
    torch.manual_seed(seed)
    batch = PAIR_BATCH * copies
    images = iterations * batch
    schedule = ScheduleConfig(
        kimg=images / 1000,
        batch=batch,
        ema_kimg=images / 50_000,
        tick_kimg=images / 10_000,
        precision="float32",
    )
    draws = Draws(mixture, batch, seed, torch.device("cpu"))
    state = rehearse(plane_gans(config, copies), draws, schedule)
    with torch.no_grad():
        points: Tensor = state.ema.module(torch.randn(copies * SAMPLES, config.latent))
    found: NDArray[np.float64] = points.view(copies, SAMPLES, 2).double().numpy()
    return found
