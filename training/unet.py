"""From picture to picture: the U-Net of pix2pix, and the encoder-decoder that it was compared with.

Isola et al. 2017 (arXiv:1611.07004), appendix 6.1.1. Each of ``depth`` levels halves the sides,
and each is undone by one that doubles them; the U-Net also hands every level's features over to
its mirror image. Sides may be any multiple of ``stride``.

Two things differ from what is usual, so that one picture is one answer. Normalisation uses the
statistics of the picture itself, in training as when served: the paper's batch of one, whatever
the batch. And dropout, the paper's only noise, stays on when served: its masks are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

KEEP = 0.5  # of the dropout's units
SLOPE = 0.2  # of the encoder's leaky ReLU


class Down(nn.Module):
    """Halve the sides: [N, C, H, W] -> [N, C', H/2, W/2], before the activation."""

    def __init__(self, inputs: int, outputs: int, *, active: bool, norm: bool) -> None:
        super().__init__()
        self.activation = nn.LeakyReLU(SLOPE) if active else nn.Identity()
        self.convolution = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not norm)
        self.norm = nn.InstanceNorm2d(outputs, affine=True) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features of the next level."""
        return self.norm(self.convolution(self.activation(x)))  # type: ignore[no-any-return]


class Up(nn.Module):
    """Double the sides: [N, C, H, W] -> [N, C', 2H, 2W], before the activation."""

    def __init__(self, inputs: int, outputs: int, *, norm: bool) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=not norm)
        self.norm = nn.InstanceNorm2d(outputs, affine=True) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features of the level above."""
        return self.norm(self.upsample(x.relu()))  # type: ignore[no-any-return]


class Translator(nn.Module):
    """[N, C, H, W] -> [N, C', H, W] in [-1, 1], with the masks of its dropout.

    Args:
        channels: C and C'.
        widths: of the features level by level, the finest first.
        skips: whether it is a U-Net.
        dropout: levels with dropout, from the coarsest on; fewer than there are levels.
        latent: Z; its numbers come beside the picture, as constant maps (Zhu et al. 2017,
            BicycleGAN, arXiv:1711.11586, section 4). 0: there is none.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        widths: Sequence[int],
        *,
        skips: bool,
        dropout: int,
        latent: int = 0,
    ) -> None:
        super().__init__()
        depth, self.latent = len(widths), latent
        self.skips, self.stride = skips, 2**depth
        # Not at the coarsest level: there a picture may be one pixel, which is its own mean.
        self.downs = nn.ModuleList(
            Down(inputs, outputs, active=level > 0, norm=0 < level < depth - 1)
            for level, (inputs, outputs) in enumerate(
                zip((channels[0] + latent, *widths[:-1]), widths, strict=True)
            )
        )
        wider = 2 if skips else 1
        inputs = (widths[-1], *(wider * width for width in reversed(widths[:-1])))
        outputs = (*reversed(widths[:-1]), channels[1])
        # Of each mask: its channels, and the side of the square that one of its numbers is for.
        self.mask_shapes = [(outputs[k], self.stride // 2 ** (k + 1)) for k in range(dropout)]
        self.ups = nn.ModuleList(
            Up(before, after, norm=level < depth - 1)
            for level, (before, after) in enumerate(zip(inputs, outputs, strict=True))
        )

    def masks(self, images: Tensor) -> tuple[Tensor, ...]:
        """Draws of 0 and 1 for these pictures: what ``forward`` takes beside them."""
        (height, width), device = images.shape[2:], images.device
        shapes = (
            (len(images), channels, height // side, width // side)
            for channels, side in self.mask_shapes
        )
        return tuple(torch.bernoulli(torch.full(shape, KEEP, device=device)) for shape in shapes)

    def forward(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Pictures in [-1, 1]; ``drawn`` is z [N, Z], where there is a latent, then the masks."""
        kept = []
        x, masks = images, drawn[1:] if self.latent else drawn
        if self.latent:
            maps = drawn[0][:, :, None, None].expand(-1, -1, *images.shape[2:])
            x = torch.cat([images, maps.to(images.dtype)], 1)
        for down in self.downs:
            x = down(x)
            kept.append(x)
        kept.pop()
        for level, up in enumerate(self.ups):
            x = up(x)
            if level < len(masks):
                x = x * masks[level].to(x.dtype) / KEEP
            if self.skips and kept:
                x = torch.cat([x, kept.pop()], 1)
        return x.float().tanh()
