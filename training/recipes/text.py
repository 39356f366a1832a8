"""Pictures from a text. Reed et al. 2016 (arXiv:1605.05396), GAN-CLS, in a convolutional pair.

A small encoder turns tokens into a vector; the generator has one, and the discriminator another
that learns with it. The discriminator is matching-aware: it rejects a real picture with another's
text. It may also have to tell, picture by picture, which of a batch's texts is shown (Zhang et al.
2021, arXiv:2101.04702), which the generator then has to make easy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from training import convolutional, processes
from training.errors import ConfigError
from training.layers import initialise, shifted
from training.losses import matching, zero_centred_penalty
from training.recipe import MOST, Batch, Recipe, Shape, Terms
from training.recipes.gan import ObjectiveConfig, beside
from training.recipes.mode_seeking import ConditionalGAN, ModeSeekingConfig
from training.texts import PADDING, UNKNOWN, Discriminator, Generator, Judged

SHARPNESS = 10.0  # of cosines, as logits


class TextConfig(ModeSeekingConfig, convolutional.ConvolutionalConfig, ObjectiveConfig):
    """A convolutional pair that is told what to show in words."""

    system: Literal["text"]
    embedding: int = Field(128, gt=0, le=MOST, description="E, the length of a text's vector")
    word_dropout: float = Field(0.1, ge=0, lt=1, description="share of words read as unknown")
    mismatch: float = Field(
        0.5, ge=0, lt=1, description="share of D's loss for real images with another one's text"
    )
    contrast: float = Field(
        0.0, ge=0, description="weight of telling which of a batch's texts an image shows"
    )
    shift: int = Field(
        0, ge=0, le=MOST, description="pixels by which D sees images moved at random, at most"
    )


class TextGAN(ConditionalGAN):
    """The game over pairs of a picture and its text."""

    config: TextConfig

    def __init__(self, config: TextConfig, image: Shape) -> None:
        super().__init__(config)
        latent, embedding = config.latent, config.embedding
        self.generator = Generator(config, image, latent=latent, embedding=embedding)
        self.discriminator = Discriminator(config, image, embedding=embedding)
        initialise(self, config.initial_std)

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Draws of z from its prior, [N, Z], and the texts, [N, L]; some words lost in training."""
        assert batch.text is not None  # stages() refuses data without captions
        text = batch.text
        if self.training and self.config.word_dropout:
            lost = torch.rand(text.shape, device=text.device) < self.config.word_dropout
            text = text.masked_fill(lost & (text != PADDING), UNKNOWN)
        return (*super().inputs(batch), text)

    def judged(self, images: Tensor, batch: Batch) -> Judged:
        """D of the pictures, moved a little if so configured, and of their texts."""
        judged: Judged = self.discriminator(shifted(images, self.config.shift), batch.text)
        return judged

    def logits(self, images: Tensor, batch: Batch) -> Tensor:
        """D(images, text), [N] float32."""
        return self.judged(images, batch).own

    def contrast(self, judged: Judged, texts: int) -> Tensor:
        """Tell which of the whole batch's texts a picture shows, by sharpened cosines.

        Args:
            judged: [k N] pictures for N texts in order, k times.
            texts: N.
        """
        said = processes.whole(judged.said[:texts])
        own = processes.own(torch.arange(len(said), device=said.device))
        similarity = SHARPNESS * judged.shown @ said.T
        return self.config.contrast * matching(similarity, own.repeat(len(similarity) // texts))

    def d_loss(self, batch: Batch, images: int) -> Terms:
        """Tell real from generated, and a text from those of others. Reed et al., algorithm 1."""
        config = self.config
        real, asked = batch.x.detach().requires_grad_(config.r1 > 0), self.conditions(batch)
        with torch.no_grad():
            fake = self.generator(*self.inputs(asked))
        fake.requires_grad_(config.r2 > 0)
        shown, made = self.judged(real, batch), self.logits(fake, asked)
        adversarial = self.objective.d(beside(made, shown.own), made)
        terms = {"adversarial": (1 - config.mismatch) * adversarial}
        if config.mismatch:
            terms["mismatch"] = config.mismatch * self.objective.d(shown.own, shown.other)
        if config.contrast:
            terms["contrast"] = self.contrast(shown, len(batch))
        if config.r1:
            terms["r1"] = config.r1 / 2 * zero_centred_penalty(shown.own, real)
        if config.r2:
            terms["r2"] = config.r2 / 2 * zero_centred_penalty(made, fake)
        return terms

    def g_loss(self, batch: Batch, images: int) -> Terms:
        """Be taken for real, and for what the text says."""
        asked = self.conditions(batch)
        inputs = self.inputs(asked)
        fake = self.generator(*inputs)
        made = self.judged(fake, asked)
        real = self.logits(batch.x, batch) if self.objective.pairs else made.own
        terms = {"adversarial": self.objective.g(beside(made.own, real), made.own)}
        if self.config.contrast:
            terms["contrast"] = self.contrast(made, len(batch))
        return terms | self.g_terms(fake, inputs)


def stages(config: TextConfig, image: Shape) -> Iterator[Recipe]:
    """One stage: the pair.

    Raises:
        ConfigError: the data has no captions.
    """
    if not image.vocabulary:
        raise ConfigError(
            "text learns captions, and the data has none: take a data set with words "
            "(--set data.source=openmoji), or train the unconditional dcgan"
        )
    yield TextGAN(config, image)
