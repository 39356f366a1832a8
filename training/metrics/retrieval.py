"""Does a picture show its text? A matching network tells which of some texts a picture belongs to.

It learns from real pictures and their captions alone, over features that are fixed: a linear map of
the picture beside a small encoder of the text, by ``losses.matching`` in both directions (CLIP's
loss: Radford et al. 2021, arXiv:2103.00020, figure 3). Its precision on real pictures is the floor
beneath which it judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from training.losses import matching
from training.texts import PADDING, UNKNOWN, Encoder

Features = NDArray[np.floating]
Tokens = NDArray[np.int64]

EMBEDDING = 128
SHARPNESS = 15.0


@dataclass(frozen=True)
class MatcherSettings:
    """How a matching network learns: Adam, constant rate, noise in both kinds of input."""

    steps: int = 600
    batch: int = 256
    lr: float = 2e-3
    word_dropout: float = 0.1
    noise: float = 0.1  # of the features' own standard deviation
    seed: int = 0


class Matcher(nn.Module):
    """Features [N, D] and tokens [M, L] -> similarities [N, M], sharpened cosines."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: Features, vocabulary: int) -> None:
        super().__init__()
        mean, std = features.mean(0), features.std(0) + 1e-6
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("std", torch.from_numpy(std.astype(np.float32)))
        self.shown = nn.Linear(features.shape[1], EMBEDDING)
        self.said = Encoder(vocabulary, EMBEDDING)

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """How near each picture is to each text."""
        shown = self.shown((features - self.mean) / self.std)
        return SHARPNESS * normalize(shown, dim=1) @ normalize(self.said(text), dim=1).T


def train_matcher(
    features: Features, tokens: Tokens, vocabulary: int, settings: MatcherSettings | None = None
) -> Matcher:
    """A matching network of real pictures; the same arguments give the same one.

    Args:
        features: [N, D].
        tokens: [N, M, L], M captions of each.
        vocabulary: of the tokens.
        settings: how it learns.
    """
    settings = settings or MatcherSettings()
    with torch.random.fork_rng([]):
        torch.manual_seed(settings.seed)
        matcher = Matcher(features, vocabulary)
        optimizer = torch.optim.Adam(matcher.parameters(), settings.lr)
        pictures = torch.from_numpy(features.astype(np.float32))
        captions = torch.from_numpy(tokens)
        for _ in range(settings.steps):
            rows = torch.randperm(len(pictures))[: settings.batch]
            chosen = torch.randint(captions.shape[1], (len(rows),))
            text = captions[rows, chosen]
            lost = torch.rand(text.shape) < settings.word_dropout
            text = text.masked_fill(lost & (text != PADDING), UNKNOWN)
            shaken = settings.noise * matcher.std * torch.randn(len(rows), features.shape[1])
            similarity = matcher(pictures[rows] + shaken, text)
            optimizer.zero_grad()
            own = torch.arange(len(rows))
            loss = matching(similarity, own) + matching(similarity.T, own)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return matcher.eval()


@torch.no_grad()
def retrieval_precision(
    matcher: Matcher, features: Features, texts: Tokens, own: NDArray[np.integer], choices: Tokens
) -> float:
    """The share of pictures that are nearer to their own text than to the others they are put to.

    Args:
        matcher: a network.
        features: [N, D], of the pictures.
        texts: [T, L], every text there is.
        own: [N], the row of ``texts`` that each picture was made for.
        choices: [N, K], rows of ``texts`` that it is compared with; none is its own.
    """
    pictures = torch.from_numpy(features.astype(np.float32))
    similarity = matcher(pictures, torch.from_numpy(texts)).numpy()
    others = np.take_along_axis(similarity, choices, 1)
    mine = similarity[np.arange(len(own)), own]
    return float(np.mean(mine > others.max(1)))


def distractors(texts: Tokens, own: NDArray[np.integer], count: int, seed: int = 0) -> Tokens:
    """For each row of ``own``, ``count`` rows of ``texts`` [T, L] that say something else: [N, K].

    Raises:
        ValueError: there are too few other texts.
    """
    random = np.random.default_rng(seed)
    _, kinds = np.unique(texts, axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    chosen = []
    for row in own:
        others = np.flatnonzero(kinds != kinds[row])
        if len(others) < count:
            raise ValueError(f"{count} other texts are asked for, and there are {len(others)}")
        chosen.append(random.choice(others, count, replace=False))
    return np.array(chosen, np.int64)
