"""Energy-based GAN: the discriminator is an autoencoder. Zhao et al. 2017 (arXiv:1609.03126).

What it makes again well has a low energy, and is taken for real: it also tells how unusual a
picture is. The autoencoder has no batch norm unless asked for, so that a picture's energy is its
own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training import convolutional, perceptrons
from training.layers import Norm, initialise, levels
from training.losses import ENERGIES, Objective, energy_g, margin_d, pulling_away
from training.processes import whole
from training.recipe import MOST, SURVEYED, Batch, Recipe, Shape, Terms
from training.recipes.gan import GAN, AdversarialConfig
from training.signals import adversarial_signals

LOGITS = 10.0
"""Logits to a margin, for the signals: energies have no unit. A margin apart is told by logits of 5
and -5, a divergence of 0.69; half a margin apart, 0.61. The level is midway between the two means,
not at half the margin: what an autoencoder cannot make again is in both, and no part of the game.
"""


class EBGANConfig(convolutional.ConvolutionalConfig, AdversarialConfig):
    """A generator and an autoencoder, both convolutional or both perceptrons."""

    system: Literal["ebgan"]
    networks: Literal["convolutional", "perceptrons"] = "convolutional"
    hidden: int = Field(256, gt=0, le=MOST, description="units of the perceptrons' layers")
    energy: Literal["l2", "cosine"] = "l2"
    margin: float = Field(10.0, gt=0, description="m: energies above it are high enough")
    pulling_away: float = Field(0.1, ge=0, description="weight of the repelling term; 0 is none")
    code: int | None = Field(
        32, gt=0, le=MOST, description="length of the code; none: the lowest features themselves"
    )
    pretrain_kimg: float = Field(
        0.0, ge=0, description="thousands of images that the autoencoder learns alone"
    )
    d_norm: Norm = "none"
    d_stem: bool = False

    def game(self) -> Objective:
        """Zhao et al. 2017, eq. 1 and 2."""
        return Objective(partial(margin_d, margin=self.margin), lambda _real, fake: energy_g(fake))


class Autoencoder(nn.Module):
    """[N, C, H, W] -> the same made again, in [-1, 1], and its code [N, Z]."""

    def __init__(self, config: EBGANConfig, image: Shape) -> None:
        super().__init__()
        parts = _perceptrons if config.networks == "perceptrons" else _convolutions
        down, features, up = parts(config, image)
        code = config.code
        self.encoder = nn.Sequential(down, *([nn.Linear(features, code)] if code else []))
        back: list[nn.Module] = [nn.Linear(code, features), nn.LeakyReLU(0.2)] if code else []
        self.decoder = nn.Sequential(*back, *up)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Dec(Enc(x)) and Enc(x)."""
        code: Tensor = self.encoder(images)
        return self.decoder(code).float().tanh(), code


def _perceptrons(config: EBGANConfig, image: Shape) -> tuple[nn.Module, int, list[nn.Module]]:
    size = (image.channels, image.size, image.size)
    pixels = image.channels * image.size**2
    down = nn.Sequential(nn.Flatten(), nn.Linear(pixels, config.hidden), nn.LeakyReLU(0.2))
    return down, config.hidden, [nn.Linear(config.hidden, pixels), nn.Unflatten(1, size)]


def _convolutions(config: EBGANConfig, image: Shape) -> tuple[nn.Module, int, list[nn.Module]]:
    """A discriminator's trunk, how many features it gives, and its mirror image."""
    down = convolutional.Features(config, image.channels, image.size)
    halvings, side = levels(image.size)
    widths = [config.d_base_channels * 2**k for k in range(halvings + config.d_stem)]
    channels = [min(config.max_channels, width) for width in reversed(widths)]
    up: list[nn.Module] = [nn.Unflatten(1, (channels[0], side, side))]
    for inputs, outputs in pairwise(channels):
        up += [convolutional.upsample(config, inputs, outputs, bias=True)]
        up += [nn.BatchNorm2d(outputs)] if config.d_norm == "batch" else []
        up += [nn.LeakyReLU(0.2)]
    if config.d_stem:
        return down, down.outputs, [*up, nn.Conv2d(channels[-1], image.channels, 3, 1, 1)]
    last = convolutional.upsample(config, channels[-1], image.channels, bias=True)
    return down, down.outputs, [*up, last]


class EBGAN(GAN):
    """The game over energies: what the discriminator gives is the lower, the more real."""

    config: EBGANConfig
    energies: Tensor

    def __init__(self, config: EBGANConfig, image: Shape) -> None:
        super().__init__(config)
        if config.networks == "perceptrons":
            size = (image.channels, image.size, image.size)
            self.generator = perceptrons.Generator(config.latent, config.hidden, size)
        else:
            self.generator = convolutional.Generator(config, config.latent, image)
        self.discriminator = Autoencoder(config, image)
        self.energy = ENERGIES[config.energy]
        self.register_buffer("energies", torch.zeros(SURVEYED))
        initialise(self, config.initial_std)

    def logits(self, images: Tensor, batch: Batch) -> Tensor:
        """D(images) = the distance of Dec(Enc(x)) from x, [N] float32."""
        return self.judged(images)[0]

    def judged(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The energies [N] of images, and their codes."""
        made, code = self.discriminator(images)
        return self.energy(images, made), code

    def d_loss(self, batch: Batch, images: int) -> Terms:
        """Low energies for real images, and at least the margin for generated ones."""
        if images >= self.config.pretrain_kimg * 1000:
            return super().d_loss(batch, images)
        return {"reconstruction": self.logits(batch.x, batch).mean()}

    def g_loss(self, batch: Batch, images: int) -> Terms:
        """Low energies, by pictures that differ; nothing while the autoencoder learns alone."""
        if images < self.config.pretrain_kimg * 1000:
            return {"adversarial": batch.x.new_zeros((), requires_grad=True)}
        fake, code = self.judged(self.generator(*self.inputs(batch)))
        terms = {"adversarial": self.objective.g(fake, fake)}
        if self.config.pulling_away:
            terms["pulling_away"] = self.config.pulling_away * pulling_away(whole(code.float()))
        return terms

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """Mean energies of both (health is below the margin), and what every pair tells."""
        fake = self.generator(*self.inputs(batch))
        real_energy, fake_energy = self.logits(batch.x, batch), self.logits(fake, batch)
        energies = {"energy_real": real_energy.mean(), "energy_fake": fake_energy.mean()}
        scale = -LOGITS / self.config.margin
        logits = scale * real_energy, scale * fake_energy
        return energies | adversarial_signals(*logits, batch.x, fake, None)

    def survey(self, batches: Iterable[Batch]) -> None:
        """Keep the energies of training images, for a score to be compared with."""
        self.energies.copy_(torch.cat([self.logits(batch.x, batch) for batch in batches]))


def stages(config: EBGANConfig, image: Shape) -> Iterator[Recipe]:
    """One stage, in which the autoencoder may learn alone at first."""
    yield EBGAN(config, image)
