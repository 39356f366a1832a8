"""Perceptrons, the networks of the first GAN. Goodfellow et al. 2014 (arXiv:1406.2661)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from training.layers import Maxout


class Generator(nn.Module):
    """[N, Z] -> [N, C, H, W] in [-1, 1], through two hidden layers."""

    def __init__(self, latent: int, hidden: int, image: tuple[int, int, int]) -> None:
        super().__init__()
        self.latent = latent
        self.layers = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, image[0] * image[1] * image[2]),
            nn.Unflatten(1, image),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Pictures in [-1, 1]."""
        return self.layers(z).float().tanh()  # type: ignore[no-any-return]


def discriminator(
    kind: Literal["leaky_relu", "maxout"], pixels: int, hidden: int, dropout: float
) -> nn.Module:
    """[N, C, H, W] -> [N] logits, through two hidden layers; ``hidden`` units if not of maxout."""
    if kind == "maxout":  # the paper's: 240 units of 5 pieces
        parts: list[nn.Module] = [Maxout(pixels, 240, 5), Maxout(240, 240, 5)]
        last = nn.Linear(240, 1)
    else:
        parts = [
            nn.Sequential(nn.Linear(pixels, hidden), nn.LeakyReLU(0.2)),
            nn.Sequential(nn.Linear(hidden, hidden), nn.LeakyReLU(0.2)),
        ]
        last = nn.Linear(hidden, 1)
    dropped = [layer for part in parts for layer in (part, nn.Dropout(dropout))]
    return nn.Sequential(nn.Flatten(), *dropped, last, nn.Flatten(0))
