"""The segmenter in whose eyes translated pictures are measured: an FCN-8s, trained from scratch.

The three finest of its scores are fused as in Long, Shelhamer & Darrell 2015 (arXiv:1411.4038,
section 4.2): each is doubled by a transposed convolution that starts as bilinear, and added to the
next. The backbone is small. It halves pictures of 256 pixels five times, as the paper's does, and
smaller ones less often, so that the finest score always has about 32 x 32 places.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.data.progress import Progress, silent
from training.metrics.judge import Images, to_tensor
from training.metrics.segmentation import Maps
from training.metrics.weights import key_of, trained

LEAST_HALVINGS, MOST_HALVINGS = 3, 5  # three scores are fused
_ARCHITECTURE = 1  # count up when FCN or its training changes: cached ones are then left


@dataclass(frozen=True)
class FCNSettings:
    """How one is trained: Adam on cross-entropy, one-cycle rate, half of the pictures mirrored."""

    seed: int = 0
    epochs: int = 10
    batch_size: int = 16
    peak_rate: float = 4e-3
    width: int = 24


class FCN(nn.Module):
    """The network; see ``train_fcn`` for one that has learnt something.

    Args:
        side: of the pictures, in pixels: a multiple of 8, or of 2 to the halvings.
        channels: 1 or 3.
        classes: K.
        width: of the first stage; doubled at the next two.
    """

    def __init__(self, side: int, channels: int, classes: int, width: int = 24) -> None:
        super().__init__()
        halvings = min(MOST_HALVINGS, max(LEAST_HALVINGS, side.bit_length() - 4))
        if side % 2**halvings:
            raise ValueError(f"the segmenter halves pictures {halvings} times: {side} px does not")
        widths = [channels, *(width * 2 ** min(stage, 2) for stage in range(halvings))]
        self.stages = nn.ModuleList(_stage(before, after) for before, after in pairwise(widths))
        self.scores = nn.ModuleList(nn.Conv2d(after, classes, 1) for after in widths[-3:])
        self.doublings = nn.ModuleList(_doubling(classes) for _ in range(2))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a gap in its stub

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, K, H, W] of x [N, C, H, W] in [-1, 1]."""
        size, pooled = x.shape[-2:], []
        for stage in self.stages:
            x = stage(x)
            pooled.append(x)
        fine, middle, coarse = (
            score(features) for score, features in zip(self.scores, pooled[-3:], strict=True)
        )
        first, second = self.doublings
        fused = second(first(coarse) + middle) + fine
        return functional.interpolate(fused, size, mode="bilinear", align_corners=False)

    @torch.no_grad()
    def look(self, images: Images, chunk: int = 100) -> Maps:
        """The likeliest class of each pixel of uint8 [N, H, W, C]: [N, H, W]; in eval mode."""
        was_training = self.training
        self.eval()
        starts = range(0, len(images), chunk)
        found = [self(to_tensor(images[k : k + chunk])).argmax(1).numpy() for k in starts]
        self.train(was_training)
        return np.concatenate(found)


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        norm = nn.BatchNorm2d(outputs)
        layers += [nn.Conv2d(before, outputs, 3, padding=1, bias=False), norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2))


def _doubling(classes: int) -> nn.ConvTranspose2d:
    """Twice the height and width, each class by itself to begin with."""
    layer = nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False)
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.copy_(torch.eye(classes)[..., None, None] * torch.outer(ramp, ramp))
    return layer


def train_fcn(
    images: Images,
    maps: Maps,
    classes: int,
    settings: FCNSettings | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> FCN:
    """A segmenter that learnt from these pictures, in eval mode; from the cache if it is there.

    Args:
        images: uint8 [N, S, S, C], at least one batch of them.
        maps: the class of each pixel, [N, S, S], each in [0, classes).
        classes: K.
        settings: seed and schedule.
        cache: folder of trained ones; None keeps nothing.
        progress: told of each optimiser step as "segmenter".
    """
    settings = settings or FCNSettings()
    facts = [_ARCHITECTURE, images.shape, classes, asdict(settings)]
    return trained(
        lambda: FCN(images.shape[1], images.shape[3], classes, settings.width),
        lambda network: _fit(network, images, maps, settings, progress),
        settings.seed,
        cache and cache / f"fcn-{key_of(facts, images, maps)}.safetensors",
    )


def _fit(
    network: FCN, images: Images, maps: Maps, settings: FCNSettings, progress: Progress
) -> None:
    size = settings.batch_size
    total = settings.epochs * (len(images) // size)
    if total == 0:
        raise ValueError(f"a segmenter needs {size} pictures or more, not {len(images)}")
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.peak_rate)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.peak_rate, total_steps=total)
    network.train()
    step = 0
    for _ in range(settings.epochs):
        order = torch.randperm(len(images)).numpy()
        for start in range(0, len(images) - size + 1, size):
            x, y = _mirrored(images, maps, order[start : start + size])
            loss = functional.cross_entropy(network(x), y)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            rate.step()
            step += 1
            progress("segmenter", step, total)


def _mirrored(images: Images, maps: Maps, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Pictures and their maps; half of them turned left to right."""
    x, y = to_tensor(images[rows]), torch.from_numpy(np.array(maps[rows]))
    turned = torch.rand(len(rows)) < 0.5
    x[turned], y[turned] = x[turned].flip(-1), y[turned].flip(-1)
    return x, y
