"""The judge: a small classifier, trained on real images, in whose eyes samples are measured.

A LeNet (LeCun et al. 1998) with batch normalisation and ReLU: two 5x5 convolutions, each followed
by 2x2 pooling, then one hidden layer of ``FEATURES`` units, which are the features of ``frechet``
and ``coverage``. It is trained on the CPU in float32 from a seed, so that the same data gives the
same judge, and it is kept in a cache under the SHA-256 of the data and the settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.data.progress import Progress, silent
from training.metrics.weights import key_of, trained

FEATURES = 128
SMALLEST_SIDE = 16
_ARCHITECTURE = 1  # count up when Judge or the training below changes: cached judges are then left

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge is trained: Adam on cross-entropy, one-cycle rate (Smith & Topin 2017).

    Six epochs suit the 60,000 images of Fashion-MNIST (0.915 on its test set, about a minute on
    two cores), twelve suit 10,000 of them (0.888).
    """

    seed: int = 0
    epochs: int = 6
    batch_size: int = 128
    peak_rate: float = 3e-3
    dropout: float = 0.25


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a judge makes of N images: ``logits`` [N, K], ``features`` [N, FEATURES], float32."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32]

    @property
    def labels(self) -> Labels:
        """The likeliest class of each image, [N]."""
        labels: Labels = self.logits.argmax(axis=1)
        return labels


class Judge(nn.Module):
    """The network; see ``train_judge`` for one that has learnt something.

    Args:
        side: of the images, in pixels, at least ``SMALLEST_SIDE``.
        channels: 1 or 3.
        classes: K.
        dropout: between features and logits, while training.
    """

    def __init__(self, side: int, channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        if side < SMALLEST_SIDE:
            raise ValueError(f"a judge needs images of at least {SMALLEST_SIDE} px, not {side}")
        end = ((side - 4) // 2 - 4) // 2
        self.body = nn.Sequential(
            *_convolution(channels, 16),
            *_convolution(16, 64),
            nn.Flatten(),
            nn.Linear(64 * end * end, FEATURES),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(FEATURES, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a gap in its stub

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, K] and features [N, FEATURES] of x [N, C, H, W] in [-1, 1]."""
        features = self.body(x)
        return self.head(self.dropout(features)), features

    @torch.no_grad()
    def look(self, images: Images, chunk: int = 500) -> Opinion:
        """Logits and features of uint8 images [N, H, W, C], by eval mode whatever the mode is."""
        was_training = self.training
        self.eval()
        pairs = [
            self(to_tensor(images[start : start + chunk])) for start in range(0, len(images), chunk)
        ]
        self.train(was_training)
        logits, features = zip(*pairs, strict=True)
        return Opinion(torch.cat(logits).numpy(), torch.cat(features).numpy())

    def accuracy(self, images: Images, labels: Labels) -> float:
        """The share of images that it gives their label."""
        return float(np.mean(self.look(images).labels == labels))


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    # Pooling before the activation is the same function at a quarter of the ReLUs.
    norm = nn.BatchNorm2d(outputs)
    return nn.Conv2d(inputs, outputs, 5), norm, nn.MaxPool2d(2), nn.ReLU()


def to_tensor(images: Images) -> Tensor:
    """uint8 [N, H, W, C] in [0, 255] to float32 [N, C, H, W] in [-1, 1], channels last."""
    # The copy is for read-only memory maps, which torch will not share.
    x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    return x.float().div_(127.5).sub_(1)


def train_judge(
    images: Images,
    labels: Labels,
    classes: int,
    settings: JudgeSettings | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Judge:
    """A judge that learnt from these images, in eval mode; from the cache where it is there.

    Args:
        images: [N, H, W, C] uint8, square, at least one batch of them.
        labels: [N], each in [0, classes).
        classes: K.
        settings: seed and schedule; the defaults are for 60,000 images.
        cache: folder of trained judges; None keeps nothing.
        progress: told of each optimiser step as "judge".
    """
    settings = settings or JudgeSettings()
    facts = {
        "architecture": _ARCHITECTURE,
        "shape": images.shape,
        "classes": classes,
        "settings": asdict(settings),
    }
    return trained(
        lambda: Judge(images.shape[1], images.shape[3], classes, settings.dropout),
        lambda judge: _fit(judge, images, labels, settings, progress),
        settings.seed,
        cache and cache / f"judge-{key_of(facts, images, labels)}.safetensors",
    )


def _fit(
    judge: Judge, images: Images, labels: Labels, settings: JudgeSettings, progress: Progress
) -> None:
    total = settings.epochs * (len(images) // settings.batch_size)
    if total == 0:
        raise ValueError(f"a judge needs {settings.batch_size} images or more, not {len(images)}")
    targets = torch.from_numpy(np.array(labels))
    optimizer = torch.optim.Adam(judge.parameters(), lr=settings.peak_rate)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.peak_rate, total_steps=total)
    judge.train()
    for step, rows in enumerate(_batches(len(images), settings), start=1):
        logits, _ = judge(to_tensor(images[rows]))
        loss = functional.cross_entropy(logits, targets[rows])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        rate.step()
        progress("judge", step, total)


def _batches(count: int, settings: JudgeSettings) -> Iterator[NDArray[np.int64]]:
    """Rows of one batch after another; what is over at the end of an epoch is left out."""
    size = settings.batch_size
    for _ in range(settings.epochs):
        order = torch.randperm(count).numpy()
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]
