"""Generative adversarial network of fully connected layers. Goodfellow et al. 2014 (1406.2661)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training import perceptrons
from training.losses import OBJECTIVES, Objective, zero_centred_penalty
from training.recipe import MOST, Adam, Batch, Optimizer, Phase, Recipe, Settings, Shape, Terms
from training.signals import adversarial_signals

ObjectiveName = Literal[
    "minimax", "nonsaturating", "maximum_likelihood", "least_squares", "hinge", "relativistic"
]


class AdversarialConfig(Settings):
    """What every adversarial pair has: a prior, penalties, and the two optimisers."""

    latent: int = Field(64, gt=0, le=MOST, description="Z, the length of z")
    prior: Literal["normal", "uniform"] = Field("normal", description="of z; uniform: [-1, 1)")
    d_steps: int = Field(1, gt=0, description="discriminator steps per generator step, k")
    updates: Literal["alternating", "simultaneous"] = Field(
        "alternating", description="simultaneous: G answers D as it was before its last step"
    )
    r1: float = Field(0.0, ge=0, description="gamma of the penalty on real images")
    r2: float = Field(0.0, ge=0, description="gamma of the penalty on generated images")
    g_optimizer: Optimizer = Adam()
    d_optimizer: Optimizer = Adam()

    def game(self) -> Objective:
        """What the two minimise."""
        raise NotImplementedError


class ObjectiveConfig(AdversarialConfig):
    """A pair that plays one of the games by name."""

    objective: ObjectiveName = "nonsaturating"

    def game(self) -> Objective:
        """The one that is named."""
        return OBJECTIVES[self.objective]


class GANConfig(ObjectiveConfig):
    """A pair of multilayer perceptrons."""

    system: Literal["gan"]
    hidden: int = Field(512, gt=0, le=MOST)
    discriminator: Literal["leaky_relu", "maxout"] = "leaky_relu"
    dropout: float = Field(0.0, ge=0, lt=1, description="of the discriminator's hidden units")


class GAN(Recipe):
    """The game itself; the systems built on it change the networks or add terms."""

    generator: nn.Module
    discriminator: nn.Module

    def __init__(self, config: AdversarialConfig) -> None:
        super().__init__()
        self.config = config
        self.objective = config.game()

    def phases(self) -> tuple[Phase, ...]:
        """K discriminator steps, then one of the generator. Goodfellow et al. 2014, algorithm 1."""
        config = self.config
        return (
            Phase(
                "d",
                self.discriminator,
                self.d_loss,
                config.d_optimizer,
                config.d_steps,
                joined=config.updates == "simultaneous",
            ),
            Phase("g", self.generator, self.g_loss, config.g_optimizer),
        )

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Draws of z from its prior, [N, Z]."""
        shape, device = (len(batch), self.config.latent), batch.x.device
        if self.config.prior == "uniform":
            return (torch.rand(shape, device=device) * 2 - 1,)
        return (torch.randn(shape, device=device),)

    def conditions(self, batch: Batch) -> Batch:
        """What is asked of the generator in a step: a row for each picture, N or a multiple."""
        return batch

    def logits(self, images: Tensor, batch: Batch) -> Tensor:
        """D(images), [N] float32; ``batch`` holds what the images are conditioned on."""
        logits: Tensor = self.discriminator(images)
        return logits.float()

    def d_loss(self, batch: Batch, images: int) -> Terms:
        """Tell real from generated."""
        real, asked = batch.x.detach().requires_grad_(self.config.r1 > 0), self.conditions(batch)
        with torch.no_grad():
            fake = self.generator(*self.inputs(asked))
        fake.requires_grad_(self.config.r2 > 0)
        real_logits, fake_logits = self.logits(real, batch), self.logits(fake, asked)
        terms = {"adversarial": self.objective.d(beside(fake_logits, real_logits), fake_logits)}
        if self.config.r1:
            terms["r1"] = self.config.r1 / 2 * zero_centred_penalty(real_logits, real)
        if self.config.r2:
            terms["r2"] = self.config.r2 / 2 * zero_centred_penalty(fake_logits, fake)
        return terms | self.d_terms(real_logits, batch)

    def d_terms(self, real_logits: Tensor, batch: Batch) -> Terms:
        """What else a system asks of its discriminator, given D of the real images."""
        return {}

    def g_loss(self, batch: Batch, images: int) -> Terms:
        """Be taken for real."""
        asked = self.conditions(batch)
        inputs = self.inputs(asked)
        fake = self.generator(*inputs)
        fake_logits = self.logits(fake, asked)
        real_logits = self.logits(batch.x, batch) if self.objective.pairs else fake_logits
        terms = {"adversarial": self.objective.g(beside(fake_logits, real_logits), fake_logits)}
        return terms | self.g_terms(fake, inputs)

    def g_terms(self, fake: Tensor, inputs: tuple[Tensor, ...]) -> Terms:
        """What else a system asks of its generator, given its pictures and what they came from."""
        return {}

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """What ``training/signals.py`` has for every adversarial pair."""
        fake = self.generator(*self.inputs(batch))
        real_logits, fake_logits = self.logits(batch.x, batch), self.logits(fake, batch)
        boundary = self.objective.boundary
        return adversarial_signals(real_logits, fake_logits, batch.x, fake, boundary)


def beside(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """A real logit for each generated one: where several were drawn, each real one again."""
    repeats = max(1, len(fake_logits) // len(real_logits))
    return torch.cat([real_logits] * repeats)


def stages(config: GANConfig, image: Shape) -> Iterator[Recipe]:
    """One stage: the pair of perceptrons."""
    recipe = GAN(config)
    size = (image.channels, image.size, image.size)
    recipe.generator = perceptrons.Generator(config.latent, config.hidden, size)
    recipe.discriminator = perceptrons.discriminator(
        config.discriminator, image.channels * image.size**2, config.hidden, config.dropout
    )
    yield recipe
