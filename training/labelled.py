"""Convolutional pairs that are told a class, in the two ways of ``recipes.cgan``."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from training.convolutional import (
    ConvolutionalConfig,
    Features,
    Generator,
    ModulatedBlock,
    plan,
)
from training.layers import ConditionalBatchNorm2d, one_hot_maps, spectral
from training.recipe import Shape


class ModulatedGenerator(nn.Module):
    """[N, Z], [N] -> [N, C, H, W] in [-1, 1], the class in every normalisation."""

    def __init__(self, config: ConvolutionalConfig, image: Shape, latent: int) -> None:
        super().__init__()
        side, channels, last = plan(config, image)
        self.latent, self.classes = latent, len(image.classes)
        self.first = nn.Sequential(
            nn.Linear(latent, channels[0] * side * side, bias=False),
            nn.Unflatten(1, (channels[0], side, side)),
        )
        norm = partial(ConditionalBatchNorm2d, classes=self.classes)
        self.first_norm = norm(channels[0])
        self.blocks = nn.ModuleList(
            ModulatedBlock(config, *levels, norm) for levels in pairwise(channels)
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

    def __init__(self, config: ConvolutionalConfig, image: Shape, latent: int) -> None:
        super().__init__()
        self.latent, self.classes = latent, len(image.classes)
        self.inner = Generator(config, latent + self.classes, image)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Pictures of the classes asked for."""
        hot = nn.functional.one_hot(y, self.classes).to(z.dtype)
        return self.inner(torch.cat([z, hot], 1))  # type: ignore[no-any-return]


class ProjectionDiscriminator(nn.Module):
    """[N, C, H, W], [N] -> [N] logits: phi(x) . v_y + psi(phi(x)). Miyato & Koyama, eq. 3."""

    def __init__(self, config: ConvolutionalConfig, image: Shape) -> None:
        super().__init__()
        self.features = Features(config, image.channels, image.size)
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

    def __init__(self, config: ConvolutionalConfig, image: Shape) -> None:
        super().__init__()
        self.classes = len(image.classes)
        self.features = Features(config, image.channels + self.classes, image.size)
        self.last = spectral(nn.Linear(self.features.outputs, 1), config.d_norm)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Logits of the pairs."""
        pair = torch.cat([images, one_hot_maps(y, self.classes, images)], 1)
        return self.last(self.features(pair)).squeeze(1)  # type: ignore[no-any-return]
