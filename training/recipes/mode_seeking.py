"""Mode seeking: one more weighted term of any conditional recipe. Mao et al. 2019 (1903.05628).

A generator with a condition tends to ignore its latent. Asked twice for each condition, with two
latents, it is rewarded for pictures that differ; the discriminator sees both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from training import losses
from training.processes import whole
from training.recipe import Batch, Settings, Terms
from training.recipes.gan import GAN


class ModeSeekingConfig(Settings):
    """The term's weight."""

    mode_seeking: float = Field(
        0.0,
        ge=0,
        description="weight of two latents giving two pictures; 0: one latent for each condition",
    )


def twice(batch: Batch) -> Batch:
    """Every row, then every row again: the conditions of two latents each."""
    rows = {name: torch.cat([v, v]) for name, v in vars(batch).items() if v is not None}
    return Batch(**rows)


def mode_seeking_terms(weight: float, images: Tensor, latents: Tensor) -> Terms:
    """The term of images [2N, C, H, W] and latents [2N, Z] made for ``twice`` of a batch."""
    if not weight:
        return {}
    pairs = (whole(part) for both in (images, latents) for part in both.chunk(2))
    return {"mode_seeking": weight * losses.mode_seeking(*pairs)}


class ConditionalGAN(GAN):
    """The game over pairs of a picture and its condition. The latent is the first of the inputs."""

    def conditions(self, batch: Batch) -> Batch:
        """Each condition once, or twice for mode seeking."""
        return twice(batch) if self.mode_seeking else batch

    def g_terms(self, fake: Tensor, inputs: Sequence[Tensor]) -> Terms:
        """Pictures that differ as their latents do."""
        return mode_seeking_terms(self.mode_seeking, fake, inputs[0])

    @property
    def mode_seeking(self) -> float:
        """The term's weight."""
        assert isinstance(self.config, ModeSeekingConfig)
        return self.config.mode_seeking
