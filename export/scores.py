"""Autoencoders that tell how unusual a picture is, as they are exported."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

STEPS = 33  # quantiles of the energies known: a share is read between two of them


class Scored(nn.Module):
    """Pictures to an energy, the share of the known images with a lower one, and an error map.

    Args:
        autoencoder: gives the pictures made again, and their codes.
        distance: of pictures from themselves made again, [N].
        known: energies of training images, [M]; between their quantiles the share is a straight
            line, so that rounding does not make it jump.
    """

    low: Tensor
    width: Tensor

    def __init__(
        self, autoencoder: nn.Module, distance: Callable[[Tensor, Tensor], Tensor], known: Tensor
    ) -> None:
        super().__init__()
        self.autoencoder, self.distance = autoencoder, distance
        steps = torch.quantile(known, torch.linspace(0, 1, STEPS))
        least = (steps[-1] - steps[0]) / 100 + 1e-6  # equal energies are a slope, not a cliff
        self.register_buffer("low", steps[:-1])
        self.register_buffer("width", steps.diff().clamp_min(least))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The energy [N], the share [N] in [0, 1], and where the picture is not made again.

        That is an error for each pixel, [N, H, W] in [0, 1]: 1 is black for white, in all channels.
        """
        made, _ = self.autoencoder(images)
        energy = self.distance(images, made)
        passed = ((energy[:, None] - self.low) / self.width).clamp(0, 1)
        return energy, passed.mean(1), (images - made).abs().mean(1) / 2
