"""Variational autoencoder. Kingma & Welling 2014 (arXiv:1312.6114).

The noise of the reparameterisation is drawn by the recipe and handed to the network: no graph of it
holds randomness. ``beta`` above 1 is Higgins et al. 2017 (ICLR).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from training.losses import bernoulli_nll, gaussian_kl, gaussian_nll
from training.recipe import Batch, Phase, Recipe, Shape, Terms
from training.recipes.autoencoder import CodedConfig, decoder, encoder

LEAST_LOG_STD = math.log(1 / 127.5)  # one level of 255: finer than that the data do not say
ACTIVE_VARIANCE = 0.01  # of a mean over pictures; Burda et al. 2016 (arXiv:1509.00519), section 5


class VAEConfig(CodedConfig):
    """A Gaussian posterior and prior, and the likelihood of a picture."""

    system: Literal["vae"]
    likelihood: Literal["bernoulli", "gaussian"] = Field(
        "bernoulli", description="of a pixel; gaussian: its standard deviation is learnt"
    )
    beta: float = Field(1.0, ge=0, description="weight of the divergence from the prior")
    activation: Literal["tanh", "relu", "linear"] = "relu"


class VariationalCoder(nn.Module):
    """Posterior and likelihood; pictures [N, C, H, W] in [-1, 1], z [N, Z]."""

    def __init__(self, config: VAEConfig, image: Shape) -> None:
        super().__init__()
        self.latent = config.latent
        self.encoder = encoder(config, image, 2 * config.latent)
        self.decoder = decoder(config, image)
        self.bernoulli = config.likelihood == "bernoulli"
        self.log_std = None if self.bernoulli else nn.Parameter(torch.zeros(()))

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of z given pictures, [N, Z] each; x in [0, 1], as in the paper."""
        mean, log_variance = self.encoder((images + 1) / 2).float().chunk(2, dim=1)
        return mean, log_variance

    def encode(self, images: Tensor) -> Tensor:
        """The means of the posterior."""
        return self.posterior(images)[0]

    def forward(self, z: Tensor) -> Tensor:
        """The mean picture of each z."""
        raw: Tensor = self.decoder(z).float()
        return (raw / 2).tanh() if self.bernoulli else raw.tanh()  # tanh(a/2) = 2 sigmoid(a) - 1

    def nll(self, z: Tensor, images: Tensor) -> Tensor:
        """-E[log p(x|z)], nats per picture; a Gaussian's is a density of pixels in [-1, 1]."""
        if self.log_std is None:
            return bernoulli_nll(self.decoder(z).float(), (images + 1) / 2)
        return gaussian_nll(self(z), bounded(self.log_std), images)


def bounded(log_std: Tensor) -> Tensor:
    """At least ``LEAST_LOG_STD``; unlike a clamp's, its slope is nowhere zero."""
    return LEAST_LOG_STD + softplus(log_std - LEAST_LOG_STD)


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Z = mean + std * noise. Kingma & Welling 2014, section 2.4."""
    return mean + (log_variance / 2).exp() * noise


class VAE(Recipe):
    """The evidence lower bound."""

    generator: VariationalCoder

    def __init__(self, config: VAEConfig, image: Shape) -> None:
        super().__init__()
        self.config = config
        self.generator = VariationalCoder(config, image)

    def phases(self) -> tuple[Phase, ...]:
        """One step of posterior and likelihood together."""
        return (Phase("vae", self.generator, self.loss, self.config.optimizer),)

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Draws of z from its prior, [N, Z]."""
        return (torch.randn(len(batch), self.config.latent, device=batch.x.device),)

    def bound(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Both halves of the negative bound, nats per picture, by one draw; and the means."""
        mean, log_variance = self.generator.posterior(batch.x)
        z = reparameterise(mean, log_variance, torch.randn_like(mean))
        return self.generator.nll(z, batch.x), gaussian_kl(mean, log_variance), mean

    def loss(self, batch: Batch, images: int) -> Terms:
        """Kingma & Welling 2014, eq. 7, negated; beta weighs the divergence."""
        reconstruction, divergence, _ = self.bound(batch)
        return {"reconstruction": reconstruction, "divergence": self.config.beta * divergence}

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """The bound in nats, its divergence, and how many of the Z say anything."""
        reconstruction, divergence, mean = self.bound(batch)
        active = (mean.var(dim=0) > ACTIVE_VARIANCE).sum()
        return {"elbo": -(reconstruction + divergence), "kl": divergence, "active": active}


def stages(config: VAEConfig, image: Shape) -> Iterator[Recipe]:
    """One stage: posterior and likelihood."""
    yield VAE(config, image)
