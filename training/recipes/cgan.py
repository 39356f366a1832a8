"""Class-conditional convolutional GAN. Mirza & Osindero 2014 (arXiv:1411.1784).

Two ways to condition: ``modulated`` (conditional batch norm in the generator, a projection
discriminator; Miyato & Koyama 2018, arXiv:1802.05637), and the older ``concatenated`` (the label
beside z, and as constant maps beside the picture).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from training.convolutional import ConvolutionalConfig
from training.errors import ConfigError
from training.labelled import (
    ConcatenatedDiscriminator,
    ConcatenatedGenerator,
    ModulatedGenerator,
    ProjectionDiscriminator,
)
from training.layers import initialise
from training.recipe import Batch, Recipe, Shape, Terms
from training.recipes.gan import ObjectiveConfig
from training.recipes.mode_seeking import ConditionalGAN, ModeSeekingConfig


class CGANConfig(ModeSeekingConfig, ConvolutionalConfig, ObjectiveConfig):
    """A class-conditional convolutional pair."""

    system: Literal["cgan"]
    conditioning: Literal["modulated", "concatenated"] = "modulated"
    mismatch: float = Field(
        0.0, ge=0, description="weight of rejecting a real image with the wrong label"
    )


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
        self.generator = (ModulatedGenerator if modulated else ConcatenatedGenerator)(
            config, image, config.latent
        )
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
