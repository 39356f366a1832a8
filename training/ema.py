"""The moving average of a generator: what is sampled, kept and exported."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

RAMP_UP = 0.05  # the half-life is at most this share of the images seen (Karras et al. 2022)


class EMA:
    """Exponential moving average with a half-life in images; buffers are copied.

    Args:
        network: averaged; its copy is ``module``, in eval mode and without gradients.
        half_life_images: images after which a weight's share has halved; 0: no average, the latest
            weights.
    """

    def __init__(self, network: nn.Module, half_life_images: float) -> None:
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life_images = half_life_images

    @torch.no_grad()
    def update(self, network: nn.Module, batch_images: int, images: int) -> None:
        """Move towards ``network``, after ``images`` in all, ``batch_images`` of them new."""
        half_life = min(self.half_life_images, max(images * RAMP_UP, 1e-8))
        share = 1 - 0.5 ** (batch_images / half_life) if half_life else 1.0
        averages: list[Tensor] = list(self.module.parameters())
        values: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(averages, values, share)
        for average, value in zip(self.module.buffers(), network.buffers(), strict=True):
            average.copy_(value)

    @torch.no_grad()
    def recalibrate(self, draws: Iterable[tuple[Tensor, ...]]) -> None:
        """Estimate the batch-norm statistics anew for the averaged weights, over ``draws``.

        The copied statistics belong to the latest weights, not to their average. The averaging
        never reads these buffers, so this changes what is kept and not how training goes on.
        """
        norms = [m for m in self.module.modules() if isinstance(m, _BatchNorm)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the draws
            norm.train()
        for inputs in draws:
            self.module(*inputs)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
