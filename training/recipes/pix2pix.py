"""Translation learnt from pairs. Isola et al. 2017, pix2pix (arXiv:1611.07004).

The paper's ablation is configuration: ``adversarial`` none, unconditional (its GAN) or conditional
(its cGAN), beside ``reconstruction`` none, l1 or l2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from training.errors import ConfigError
from training.layers import initialise
from training.losses import OBJECTIVES, mean_absolute_error, mean_squared_error
from training.patches import PatchDiscriminator, PatchNorm, patch_of
from training.recipe import MOST, Adam, Batch, Optimizer, Phase, Recipe, Shape, Terms
from training.recipes.gan import ObjectiveName, beside
from training.recipes.mode_seeking import ModeSeekingConfig, mode_seeking_terms, twice
from training.unet import Translator

RECONSTRUCTIONS = {"l1": mean_absolute_error, "l2": mean_squared_error}


class Pix2PixConfig(ModeSeekingConfig):
    """A translator, and who judges it."""

    system: Literal["pix2pix"]
    generator: Literal["unet", "encoder_decoder"] = "unet"
    base_channels: int = Field(64, gt=0, le=MOST, description="doubled at each halving")
    max_channels: int = Field(512, gt=0, le=MOST)
    depth: int | None = Field(None, gt=1, le=10, description="halvings; none: down to one pixel")
    dropout_levels: int = Field(3, ge=0, description="of the decoder, from the coarsest on")
    latent: int = Field(
        0, ge=0, le=MOST, description="Z, numbers drawn beside the source; 0: dropout alone varies"
    )
    reconstruction: Literal["none", "l1", "l2"] = "l1"
    reconstruction_weight: float = Field(100.0, gt=0, description="lambda, beside the game's 1")
    adversarial: Literal["none", "unconditional", "conditional"] = "conditional"
    objective: ObjectiveName = "nonsaturating"
    patch: Literal[1, 16, 34, 70, 142, 286, "full"] = Field(70, description="that is judged alone")
    d_base_channels: int = Field(64, gt=0, le=MOST)
    d_norm: PatchNorm = "instance"
    d_weight: float = Field(0.5, gt=0, description="slows the discriminator down")
    initial_std: float | None = Field(0.02, gt=0)
    g_optimizer: Optimizer = Adam()
    d_optimizer: Optimizer = Adam()

    @model_validator(mode="after")
    def _something_is_learnt(self) -> Self:
        if self.reconstruction == self.adversarial == "none":
            raise ValueError("reconstruction and adversarial are both none: nothing is learnt")
        if self.mode_seeking and not self.latent:
            raise ValueError("mode_seeking compares two latents: give it some, latent=8")
        return self


class Pix2Pix(Recipe):
    """L1 for what can be told from the source, a game over patches for what cannot."""

    generator: Translator

    def __init__(self, config: Pix2PixConfig, image: Shape) -> None:
        super().__init__()
        assert image.source_channels is not None  # stages() refuses data without pairs
        self.config = config
        self.objective = OBJECTIVES[config.objective]
        self.generator = Translator(
            (image.source_channels, image.channels),
            widths(config, image),
            skips=config.generator == "unet",
            dropout=config.dropout_levels,
            latent=config.latent,
        )
        judged = image.channels
        judged += image.source_channels if config.adversarial == "conditional" else 0
        if config.adversarial != "none":
            patch = patch_of(image.size, config.patch)
            self.discriminator = PatchDiscriminator(
                judged, config.d_base_channels, patch, config.d_norm
            )
        initialise(self, config.initial_std)

    def phases(self) -> tuple[Phase, ...]:
        """A step of the judge, if there is one, then one of the translator."""
        translate = Phase("g", self.generator, self.g_loss, self.config.g_optimizer)
        if self.config.adversarial == "none":
            return (translate,)
        return (
            Phase("d", self.discriminator, self.d_loss, self.config.d_optimizer),
            translate,
        )

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """The sources, draws of z ~ N(0, I) if there is a latent, and of the dropout masks."""
        source, latent = batch.source, self.config.latent
        assert source is not None
        z = (torch.randn(len(source), latent, device=source.device),) if latent else ()
        return (source, *z, *self.generator.masks(source))

    def conditions(self, batch: Batch) -> Batch:
        """Each source once, or twice for mode seeking."""
        return twice(batch) if self.config.mode_seeking else batch

    def logits(self, images: Tensor, batch: Batch) -> Tensor:
        """D(source, images) of each patch, or D(images); float32."""
        if self.config.adversarial == "conditional":
            assert batch.source is not None
            images = torch.cat([batch.source, images], 1)
        return self.discriminator(images).float()  # type: ignore[no-any-return]

    def d_loss(self, batch: Batch, images: int) -> Terms:
        """Tell real pairs from made ones."""
        asked = self.conditions(batch)
        with torch.no_grad():
            made = self.generator(*self.inputs(asked))
        fake = self.logits(made, asked)
        loss = self.objective.d(beside(fake, self.logits(batch.x, batch)), fake)
        return {"adversarial": self.config.d_weight * loss}

    def g_loss(self, batch: Batch, images: int) -> Terms:
        """Be near the truth, and be taken for real. Isola et al. 2017, eq. 4.

        With mode seeking both pictures of a source are, and they differ.
        """
        asked = self.conditions(batch)
        inputs = self.inputs(asked)
        made = self.generator(*inputs)
        terms: Terms = {}
        if self.config.reconstruction != "none":
            loss = RECONSTRUCTIONS[self.config.reconstruction](made, asked.x)
            terms[self.config.reconstruction] = self.config.reconstruction_weight * loss
        if self.config.adversarial != "none":
            fake = self.logits(made, asked)
            real = self.logits(batch.x, batch) if self.objective.pairs else fake
            terms["adversarial"] = self.objective.g(beside(fake, real), fake)
        if self.config.mode_seeking:
            terms |= mode_seeking_terms(self.config.mode_seeking, made, inputs[1])
        return terms

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """How far the pictures are from the truth, and D of both as probabilities."""
        made = self.generator(*self.inputs(batch))
        found = {"l1": mean_absolute_error(made, batch.x)}
        if self.config.adversarial != "none":
            found["d_real"] = self.logits(batch.x, batch).sigmoid().mean()
            found["d_fake"] = self.logits(made, batch).sigmoid().mean()
        return found


def widths(config: Pix2PixConfig, image: Shape) -> list[int]:
    """Channels of each level.

    Raises:
        ConfigError: the pictures cannot be halved so often, or too many levels have dropout.
    """
    depth = image.size.bit_length() - 1 if config.depth is None else config.depth
    if image.size % 2**depth:
        fitting = max(2**depth, round(image.size / 2**depth) * 2**depth)
        raise ConfigError(
            f"pictures of {image.size} pixels cannot be halved {depth} times: choose "
            f"data.size={fitting}, or fewer halvings (recipe.depth)"
        )
    if config.dropout_levels >= depth:
        raise ConfigError(
            f"{depth} levels cannot have dropout on {config.dropout_levels}: choose at most "
            f"recipe.dropout_levels={depth - 1}"
        )
    return [min(config.max_channels, config.base_channels * 2**level) for level in range(depth)]


def stages(config: Pix2PixConfig, image: Shape) -> Iterator[Recipe]:
    """One stage.

    Raises:
        ConfigError: the data has no pairs, or does not fit the networks.
    """
    if image.domains:
        raise ConfigError(
            f"pix2pix learns from pairs, and pictures of {' and '.join(image.domains)} are none: "
            "train the system unpaired (unpaired-emoji-fast), or name pairs"
        )
    if image.source_channels is None:
        raise ConfigError(
            "pix2pix learns from pairs, and the data has none: name a set of pairs, or say where "
            "the other picture of each is (data.pairing: left, right, a folder, edges, greyscale, "
            "downscale or mask)"
        )
    yield Pix2Pix(config, image)
