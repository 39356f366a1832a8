"""Class-conditional convolutional GAN. Mirza & Osindero 2014 (arXiv:1411.1784).

Two ways to condition: ``modulated`` (conditional batch norm in the generator, a projection
discriminator; Miyato & Koyama 2018, arXiv:1802.05637), and the older ``concatenated`` (the label
beside z, and as constant maps beside the picture).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training import convolutional
from training.errors import ConfigError
from training.layers import ConditionalBatchNorm2d, initialise, one_hot_maps, spectral
from training.recipe import Batch, Recipe, Shape, Terms
from training.recipes.gan import ObjectiveConfig
from training.recipes.mode_seeking import ConditionalGAN, ModeSeekingConfig


class CGANConfig(ModeSeekingConfig, convolutional.ConvolutionalConfig, ObjectiveConfig):
    """A class-conditional convolutional pair."""

    system: Literal["cgan"]
    conditioning: Literal["modulated", "concatenated"] = "modulated"
    mismatch: float = Field(
        0.0, ge=0, description="weight of rejecting a real image with the wrong label"
    )


class Block(nn.Module):
    """Upsample, convolve, normalise by class, ReLU: [N, C, H, W] -> [N, C', 2H, 2W]."""

    def __init__(self, config: CGANConfig, inputs: int, outputs: int, classes: int) -> None:
        super().__init__()
        self.upsample = convolutional.upsample(config, inputs, outputs)
        self.norm = ConditionalBatchNorm2d(outputs, classes)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Features of the next level."""
        return self.norm(self.upsample(x), y).relu()  # type: ignore[no-any-return]


class ModulatedGenerator(nn.Module):
    """[N, Z], [N] -> [N, C, H, W] in [-1, 1], the class in every normalisation."""

    def __init__(self, config: CGANConfig, image: Shape) -> None:
        super().__init__()
        side, channels, last = convolutional.plan(config, image)
        self.latent, self.classes = config.latent, len(image.classes)
        self.first = nn.Sequential(
            nn.Linear(config.latent, channels[0] * side * side, bias=False),
            nn.Unflatten(1, (channels[0], side, side)),
        )
        self.first_norm = ConditionalBatchNorm2d(channels[0], self.classes)
        self.blocks = nn.ModuleList(
            Block(config, inputs, outputs, self.classes) for inputs, outputs in pairwise(channels)
        )
        self.last = last

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Pictures of the classes asked for."""
        x = self.first_norm(self.first(z), y).relu()
        for block in self.blocks:
            x = block(x, y)
        return self.last(x).float().tanh()  # type: ignore[no-any-return]


class ConcatenatedGenerator(nn.Module):
    """[N, Z], [N] -> [N, C, H, W] in [-1, 1], the class beside z."""

    def __init__(self, config: CGANConfig, image: Shape) -> None:
        super().__init__()
        self.latent, self.classes = config.latent, len(image.classes)
        self.inner = convolutional.Generator(config, config.latent + self.classes, image)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Pictures of the classes asked for."""
        hot = nn.functional.one_hot(y, self.classes).to(z.dtype)
        return self.inner(torch.cat([z, hot], 1))  # type: ignore[no-any-return]


class ProjectionDiscriminator(nn.Module):
    """[N, C, H, W], [N] -> [N] logits: phi(x) . v_y + psi(phi(x)). Miyato & Koyama, eq. 3."""

    def __init__(self, config: CGANConfig, image: Shape) -> None:
        super().__init__()
        self.features = convolutional.Features(config, image.channels, image.size)
        self.last = spectral(nn.Linear(self.features.outputs, 1), config.d_norm)
        self.classes = spectral(
            nn.Embedding(len(image.classes), self.features.outputs), config.d_norm
        )

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Logits of the pairs."""
        features = self.features(images)
        projected = (features * self.classes(y)).sum(1)
        return projected + self.last(features).squeeze(1)  # type: ignore[no-any-return]


class ConcatenatedDiscriminator(nn.Module):
    """[N, C, H, W], [N] -> [N] logits, the class as constant maps beside the picture."""

    def __init__(self, config: CGANConfig, image: Shape) -> None:
        super().__init__()
        self.classes = len(image.classes)
        self.features = convolutional.Features(config, image.channels + self.classes, image.size)
        self.last = spectral(nn.Linear(self.features.outputs, 1), config.d_norm)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Logits of the pairs."""
        pair = torch.cat([images, one_hot_maps(y, self.classes, images)], 1)
        return self.last(self.features(pair)).squeeze(1)  # type: ignore[no-any-return]


def other_labels(y: Tensor, classes: int) -> Tensor:
    """For each label one of the K - 1 others, uniformly: [N] -> [N]."""
    return (y + torch.randint_like(y, 1, classes)) % classes


class CGAN(ConditionalGAN):
    """The game over pairs of a picture and its class."""

    config: CGANConfig

    def __init__(self, config: CGANConfig, image: Shape) -> None:
        super().__init__(config)
        self.classes = len(image.classes)
        modulated = config.conditioning == "modulated"
        self.generator = (ModulatedGenerator if modulated else ConcatenatedGenerator)(config, image)
        self.discriminator = (ProjectionDiscriminator if modulated else ConcatenatedDiscriminator)(
            config, image
        )
        initialise(self, config.initial_std)

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Draws of z from its prior, [N, Z], and the classes of the batch, [N]."""
        assert batch.y is not None  # stages() refuses data without classes
        return (*super().inputs(batch), batch.y)

    def logits(self, images: Tensor, batch: Batch) -> Tensor:
        """D(images, y), [N] float32."""
        logits: Tensor = self.discriminator(images, batch.y)
        return logits.float()

    def d_terms(self, real_logits: Tensor, batch: Batch) -> Terms:
        """Reject a real picture with the wrong class, if asked to: that pair plays the fake.

        Reed et al. 2016 (arXiv:1605.05396), algorithm 1.
        """
        if not self.config.mismatch:
            return {}
        assert batch.y is not None
        wrong = Batch(batch.x, other_labels(batch.y, self.classes))
        mismatched = self.logits(batch.x, wrong)
        return {"mismatch": self.config.mismatch * self.objective.d(real_logits, mismatched)}


def stages(config: CGANConfig, image: Shape) -> Iterator[Recipe]:
    """One stage: the conditional pair.

    Raises:
        ConfigError: the data has fewer than two classes.
    """
    if len(image.classes) < 2:
        raise ConfigError(
            f"cgan learns classes, and the data has {len(image.classes)}: put the images of each "
            "class into a subfolder of its name, or train the unconditional dcgan"
        )
    yield CGAN(config, image)
