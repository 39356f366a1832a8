"""Translation between two domains without pairs. Huang et al. 2018, MUNIT (arXiv:1804.04732).

The two pictures of a row have nothing to do with one another: ``source`` is of the first domain,
``x`` of the second. A picture is translated by keeping its content and drawing a style of the other
domain; one network does it in both directions. Every term is a mean over the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training.errors import ConfigError
from training.layers import initialise
from training.losses import OBJECTIVES, mean_absolute_error
from training.patches import PatchNorm, PatchPyramid, patch_of
from training.recipe import MOST, Adam, Batch, Optimizer, Phase, Recipe, Shape, Terms
from training.recipes.gan import ObjectiveName, beside
from training.recipes.mode_seeking import ModeSeekingConfig, mode_seeking_terms
from training.styles import StyleTranslator


class UnpairedConfig(ModeSeekingConfig):
    """A translator of content and style, the judges of both domains, and what each term weighs."""

    system: Literal["unpaired"]
    fold: Literal[1, 2, 4] = Field(1, description="side of the squares of pixels taken as channels")
    base_channels: int = Field(64, gt=0, le=MOST, description="doubled at each halving")
    halvings: int = Field(2, gt=0, le=3, description="from a picture to its content")
    blocks: int = Field(4, ge=0, le=64, description="residual, of the encoder and of the decoder")
    latent: int = Field(8, gt=0, le=MOST, description="Z, the length of a style")
    hidden: int = Field(256, gt=0, le=MOST, description="units between a style and the norms")
    kernel: Literal[3, 5] = Field(5, description="side of the convolutions after doubling")
    stem: Literal[3, 5, 7] = Field(7, description="side of the first and the last convolution")
    adversarial_weight: float = Field(1.0, gt=0)
    image_weight: float = Field(10.0, ge=0, description="own content and own style: itself")
    content_weight: float = Field(1.0, ge=0, description="the content of what was made")
    style_weight: float = Field(1.0, ge=0, description="the style of what was made")
    cycle_weight: float = Field(0.0, ge=0, description="there and back again: itself")
    objective: ObjectiveName = "least_squares"
    patch: Literal[1, 16, 34, 70, 142, 286, "full"] = Field(70, description="that is judged alone")
    scales: int = Field(1, gt=0, le=4, description="judged, each half of the one before")
    d_base_channels: int = Field(64, gt=0, le=MOST)
    d_norm: PatchNorm = "none"
    initial_std: float | None = Field(0.02, gt=0, description="of the judges' weights")
    g_optimizer: Optimizer = Adam()
    d_optimizer: Optimizer = Adam()


class Unpaired(Recipe):
    """Rows go through as 2 N pictures: N of the first domain, then N of the second."""

    generator: StyleTranslator

    def __init__(self, config: UnpairedConfig, image: Shape) -> None:
        super().__init__()
        self.config = config
        self.objective = OBJECTIVES[config.objective]
        self.generator = StyleTranslator(
            image.channels,
            fold=config.fold,
            width=config.base_channels,
            halvings=config.halvings,
            blocks=config.blocks,
            latent=config.latent,
            hidden=config.hidden,
            kernel=config.kernel,
            stem=config.stem,
            side=image.size,
        )
        field = patch_of(image.size // 2 ** (config.scales - 1), config.patch)
        self.discriminators = nn.ModuleList(
            PatchPyramid(
                config.scales, image.channels, config.d_base_channels, field, config.d_norm
            )
            for _ in range(self.generator.domains)
        )
        initialise(self.discriminators, config.initial_std)

    def phases(self) -> tuple[Phase, ...]:
        """A step of both judges, then one of the translator."""
        return (
            Phase("d", self.discriminators, self.d_loss, self.config.d_optimizer),
            Phase("g", self.generator, self.g_loss, self.config.g_optimizer),
        )

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """The sources, the second domain for each, and draws of a style, s ~ N(0, I)."""
        assert batch.source is not None
        label = torch.ones(len(batch), dtype=torch.int64, device=batch.x.device)
        return batch.source, label, self.styles(batch, 1)

    def styles(self, batch: Batch, count: int) -> Tensor:
        """So many draws for each row, [count N, Z]; a draw is of a whole batch, as it is shared."""
        shape, device = (len(batch), self.config.latent), batch.x.device
        return torch.cat([torch.randn(shape, device=device) for _ in range(count)])

    def sides(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The pictures of both domains, [2 N, C, H, W], and their domains, [2 N]."""
        assert batch.source is not None
        domains = torch.arange(2, device=batch.x.device).repeat_interleave(len(batch))
        return torch.cat([batch.source, batch.x]), domains

    def wanted(self, batch: Batch, domains: Tensor) -> tuple[int, Tensor, Tensor]:
        """How often each picture is translated, into which domains, and in which styles."""
        repeats = 2 if self.config.mode_seeking else 1
        return repeats, (1 - domains).repeat(repeats), self.styles(batch, 2 * repeats)

    def logits(self, pictures: Tensor, domains: Tensor) -> list[Tensor]:
        """What the judges say of pictures of their domains: for each, at each scale; float32."""
        each = (judge(pictures[domains == k]) for k, judge in enumerate(self.discriminators))
        return [found.float() for scales in each for found in scales]

    def game(
        self, loss: Callable[[Tensor, Tensor], Tensor], real: list[Tensor], fake: list[Tensor]
    ) -> Tensor:
        """One side's loss, the mean over the judges. MUNIT, eq. 5."""
        games = [loss(beside(one, other), one) for other, one in zip(real, fake, strict=True)]
        return self.config.adversarial_weight * torch.stack(games).mean()

    def d_loss(self, batch: Batch, images: int) -> Terms:
        """Tell the real pictures of each domain from those made for it."""
        pictures, domains = self.sides(batch)
        with torch.no_grad():
            repeats, wanted, styles = self.wanted(batch, domains)
            content = self.generator.content(pictures).repeat(repeats, 1, 1, 1)
            made = self.generator.decode(content, wanted, styles)
        real, fake = self.logits(pictures, domains), self.logits(made, wanted)
        return {"adversarial": self.game(self.objective.d, real, fake)}

    def g_loss(self, batch: Batch, images: int) -> Terms:
        """Be taken for real, and lose neither content nor style on the way. MUNIT, eq. 1 to 6."""
        config, network = self.config, self.generator
        pictures, domains = self.sides(batch)
        repeats, wanted, styles = self.wanted(batch, domains)
        own_content, own_style = network.content(pictures), network.style(pictures)
        content = own_content.repeat(repeats, 1, 1, 1)
        made = network.decode(content, wanted, styles)
        fake = self.logits(made, wanted)
        real = self.logits(pictures, domains) if self.objective.pairs else fake
        terms = {"adversarial": self.game(self.objective.g, real, fake)}
        if config.image_weight:
            again = network.decode(own_content, domains, own_style)
            terms["image"] = config.image_weight * mean_absolute_error(again, pictures)
        found = network.content(made)
        if config.content_weight:
            terms["content"] = config.content_weight * mean_absolute_error(found, content)
        if config.style_weight:
            told = network.style(made)
            terms["style"] = config.style_weight * mean_absolute_error(told, styles)
        if config.cycle_weight:
            back = network.decode(found, domains.repeat(repeats), own_style.repeat(repeats, 1))
            target = pictures.repeat(repeats, 1, 1, 1)
            terms["cycle"] = config.cycle_weight * mean_absolute_error(back, target)
        return terms | mode_seeking_terms(config.mode_seeking, made, styles)

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """How well pictures are made again and styles told, and D as probabilities."""
        pictures, domains = self.sides(batch)
        content, style = self.generator.content(pictures), self.generator.style(pictures)
        drawn = self.styles(batch, 2)
        made = self.generator.decode(content, 1 - domains, drawn)
        again = self.generator.decode(content, domains, style)
        return {
            "image_error": mean_absolute_error(again, pictures),
            "style_error": mean_absolute_error(self.generator.style(made), drawn),
            "d_real": _probability(self.logits(pictures, domains)),
            "d_fake": _probability(self.logits(made, 1 - domains)),
        }


def _probability(logits: list[Tensor]) -> Tensor:
    return torch.stack([each.sigmoid().mean() for each in logits]).mean()


def stages(config: UnpairedConfig, image: Shape) -> Iterator[Recipe]:
    """One stage.

    Raises:
        ConfigError: the data has one domain, two that differ in channels, or a size that does not
            fit the networks.
    """
    if image.source_channels is None:
        raise ConfigError(
            "unpaired translates between two domains, and the data has one: name a set of two "
            "(emoji-unpaired), or say where the pictures of the other are "
            "(data.pairing=unpaired:FOLDER)"
        )
    if image.source_channels != image.channels:
        raise ConfigError(
            f"unpaired translates both ways, and pictures of one domain have "
            f"{image.source_channels} channels and of the other {image.channels}: choose "
            "data.channels=1 or 3 for both"
        )
    stride = config.fold * 2**config.halvings
    if image.size % stride or image.size < 2 * stride:
        fitting = max(2, round(image.size / stride)) * stride
        raise ConfigError(
            f"pictures of {image.size} pixels: the side must be a multiple of {stride}, and "
            f"{2 * stride} at least: choose "
            f"data.size={fitting}, or fewer halvings (recipe.halvings, recipe.fold)"
        )
    yield Unpaired(config, image)
