"""Networks that read: an encoder of tokens, and a convolutional pair that is told its vector.

Reed et al. 2016 (arXiv:1605.05396), but with the text in every normalisation of the generator, and
projected on the features of the discriminator.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training import processes
from training.convolutional import ConvolutionalConfig, Features, ModulatedBlock, plan
from training.layers import AffineBatchNorm2d, spectral
from training.recipe import Shape

PADDING, UNKNOWN = 0, 1  # tokens


class Encoder(nn.Module):
    """[N, L] tokens, zeros after the end, -> [N, E]: the mean of words and their neighbours."""

    def __init__(self, vocabulary: int, embedding: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, embedding)
        self.neighbours = nn.Conv1d(embedding, embedding, 3, padding=1)
        self.norm = nn.LayerNorm(embedding)

    def forward(self, text: Tensor) -> Tensor:
        """The texts as vectors; that of no word at all is finite."""
        said = (text != PADDING).unsqueeze(2).float()
        words = self.words(text) * said
        near = self.neighbours(words.transpose(1, 2)).transpose(1, 2).relu()
        total = ((words + near) * said).sum(1)
        return self.norm(total / said.sum(1).clamp(min=1))  # type: ignore[no-any-return]


class Generator(nn.Module):
    """[N, Z], [N, L] -> [N, C, H, W] in [-1, 1], the text in every normalisation."""

    def __init__(
        self, config: ConvolutionalConfig, image: Shape, *, latent: int, embedding: int
    ) -> None:
        super().__init__()
        side, channels, last = plan(config, image)
        self.latent = latent
        self.encoder = Encoder(image.vocabulary, embedding)
        self.first = nn.Sequential(
            nn.Linear(latent + embedding, channels[0] * side * side, bias=False),
            nn.Unflatten(1, (channels[0], side, side)),
        )
        norm = partial(AffineBatchNorm2d, condition=embedding)
        self.first_norm = norm(channels[0])
        self.blocks = nn.ModuleList(
            ModulatedBlock(config, *levels, norm) for levels in pairwise(channels)
        )
        self.last = last

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        """Pictures of what the texts say."""
        said = self.encoder(text)
        x = self.first_norm(self.first(torch.cat([z, said.to(z.dtype)], 1)), said).relu()
        for block in self.blocks:
            x = block(x, said)
        return self.last(x).float().tanh()  # type: ignore[no-any-return]


class Judged(NamedTuple):
    """What the discriminator says of N pictures and their texts.

    Args:
        own: [N], logits of the pairs.
        other: [N], those of each picture with the text of the row before, in the whole batch.
        shown: [N, E], what each picture shows, of length 1.
        said: [N, E], what each text says, likewise.
    """

    own: Tensor
    other: Tensor
    shown: Tensor
    said: Tensor


class Discriminator(nn.Module):
    """[N, C, H, W], [N, L] -> ``Judged``, by projection (Miyato & Koyama 2018, eq. 3)."""

    def __init__(self, config: ConvolutionalConfig, image: Shape, *, embedding: int) -> None:
        super().__init__()
        self.features = Features(config, image.channels, image.size)
        outputs = self.features.outputs
        self.encoder = Encoder(image.vocabulary, embedding)
        self.last = spectral(nn.Linear(outputs, 1), config.d_norm)
        self.said = spectral(nn.Linear(embedding, outputs), config.d_norm)
        self.shown = nn.Linear(outputs, embedding)

    def forward(self, images: Tensor, text: Tensor) -> Judged:
        """The pictures beside their own texts, and beside others'."""
        features, said = self.features(images), self.encoder(text)
        real, claims = self.last(features).squeeze(1), self.said(said)
        before = processes.own(processes.whole(claims).roll(1, 0))
        own, other = ((features * each).sum(1) for each in (claims, before))
        shown, said = (functional.normalize(v.float(), dim=1) for v in (self.shown(features), said))
        return Judged((real + own).float(), (real + other).float(), shown, said)
