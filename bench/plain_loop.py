"""The loop that most tutorials show, to compare with: float32, Adam, and nothing else.

It follows the algorithm of Radford et al. 2016 as it is usually written down: one discriminator
step on real and detached generated images, one generator step through the same generated images.
It is spared what slows most tutorials further: images are decoded and in memory as floats.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from training.recipe import Adam


def plain_loop(
    generator: nn.Module,
    discriminator: nn.Module,
    images: Tensor,
    batch: int,
    latent: int,
    g_settings: Adam,
    d_settings: Adam,
) -> Iterator[int]:
    """Train for ever, yielding the number of real images of each iteration.

    Args:
        generator: [N, Z] -> [N, C, H, W].
        discriminator: [N, C, H, W] -> logits [N].
        images: [M, C, H, W] float32 in [-1, 1].
        batch: N.
        latent: Z.
        g_settings: rate and betas of the generator's Adam.
        d_settings: of the discriminator's.
    """
    loss = nn.BCEWithLogitsLoss()
    g_optimizer, d_optimizer = _adam(generator, g_settings), _adam(discriminator, d_settings)
    ones, zeros = torch.ones(batch), torch.zeros(batch)
    while True:
        for rows in torch.split(torch.randperm(len(images)), batch):
            if len(rows) < batch:
                continue
            real = images[rows]
            fake = generator(torch.randn(batch, latent))
            d_optimizer.zero_grad()
            d_loss = loss(discriminator(real), ones) + loss(discriminator(fake.detach()), zeros)
            d_loss.backward()
            d_optimizer.step()
            g_optimizer.zero_grad()
            g_loss = loss(discriminator(fake), ones)
            g_loss.backward()
            g_optimizer.step()
            yield batch


def _adam(network: nn.Module, settings: Adam) -> torch.optim.Adam:
    betas = (settings.beta1, settings.beta2)
    return torch.optim.Adam(network.parameters(), lr=settings.lr, betas=betas)
