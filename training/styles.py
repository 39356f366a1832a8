"""Pictures taken apart into content and style, and put together again: the networks of MUNIT.

Huang et al. 2018 (arXiv:1804.04732), section 5.1 and appendix B.2. Content is where things are, a
map of features; style is how they look, a short vector. One set of networks serves both directions,
as in StarGAN v2 (Choi et al. 2020, arXiv:1912.01865): the domain that is wanted goes into the
decoder beside the style, so every normalisation of the decoder is adaptive.

All normalisation is of a picture by itself, in training as when served. Sides may be any multiple
of ``stride``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot, pixel_shuffle, pixel_unshuffle

STYLE_HALVINGS = 4  # of the style encoder, before it forgets where things are
LEAST_SIDE = 16  # of a picture, unless those of training are smaller: what the encoders can halve


class AdaptiveNorm2d(nn.Module):
    """Instance normalisation whose scale and shift are affine in a condition's vector.

    AdaIN: Huang & Belongie 2017 (arXiv:1703.06868), eq. 8.
    """

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.affine = nn.Linear(condition, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[N, C, H, W] features and [N, E] conditions -> [N, C, H, W]."""
        scale, shift = self.affine(condition).to(x.dtype)[..., None, None].chunk(2, 1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class Residual(nn.Module):
    """Two convolutions beside what they are added to; ``norm`` makes the norm after each."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.first, self.second = (
            convolution(channels, channels, 3),
            convolution(channels, channels, 3),
        )
        self.first_norm, self.second_norm = norm(channels), norm(channels)

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        """[N, C, H, W] features, with what their norms take besides -> the same shape."""
        inner = self.first_norm(self.first(x), *condition).relu()
        return x + self.second_norm(self.second(inner), *condition)  # type: ignore[no-any-return]


class StyleTranslator(nn.Module):
    """[N, C, H, W], [N] domains, [N, Z] styles -> [N, C, H, W] in [-1, 1], in those domains.

    Args:
        channels: C.
        fold: side of the squares of pixels that the networks take as channels of one place, which
            is quicker (Shi et al. 2016, arXiv:1609.05158); 1: each pixel is a place.
        width: before the first halving; doubled at each.
        halvings: from a picture to its content.
        blocks: residual, of the content's encoder and of the decoder.
        latent: Z, of a style.
        hidden: units of the perceptron between a style and the norms.
        kernel: side of the convolutions after doubling.
        stem: side of those that pictures go into first, and come out of.
        side: of the pictures of training.
    """

    def __init__(
        self,
        channels: int,
        *,
        fold: int,
        width: int,
        halvings: int,
        blocks: int,
        latent: int,
        hidden: int,
        kernel: int,
        stem: int,
        side: int,
        domains: int = 2,
    ) -> None:
        super().__init__()
        self.latent, self.domains, self.stride = latent, domains, fold * 2**halvings
        self.fold, places = fold, channels * fold**2
        widths = [width * 2**level for level in range(halvings + 1)]
        self.places = content_encoder([places, *widths], stem, blocks)
        most = min(STYLE_HALVINGS, (min(side, LEAST_SIDE) // fold).bit_length() - 1)
        self.look = style_encoder([places, *widths], stem, most, latent)
        self.condition = nn.Sequential(
            nn.Linear(latent + domains, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )

        def norm(features: int) -> nn.Module:
            return AdaptiveNorm2d(features, hidden)

        self.blocks = nn.ModuleList(Residual(widths[-1], norm) for _ in range(blocks))
        rising = list(pairwise(reversed(widths)))
        self.ups = nn.ModuleList(convolution(before, after, kernel) for before, after in rising)
        self.norms = nn.ModuleList(norm(after) for _, after in rising)
        self.last = convolution(width, places, stem)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight)  # the paper's; else styles begin all alike
                nn.init.zeros_(module.bias)
        with torch.no_grad():  # a square of pixels begins without a pattern (arXiv:1707.02937)
            self.last.weight.copy_(self.last.weight[:: fold**2].repeat_interleave(fold**2, 0))

    def content(self, images: Tensor) -> Tensor:
        """Where things are: [N, C', H / stride, W / stride]."""
        return self.places(pixel_unshuffle(images, self.fold))  # type: ignore[no-any-return]

    def style(self, images: Tensor) -> Tensor:
        """How they look: [N, Z]."""
        return self.look(pixel_unshuffle(images, self.fold)).float()  # type: ignore[no-any-return]

    def decode(self, content: Tensor, label: Tensor, style: Tensor) -> Tensor:
        """The pictures of [N, C', H', W'] contents in their domains and styles."""
        hot = one_hot(label, self.domains).to(style.dtype)
        condition = self.condition(torch.cat([style, hot], 1))
        x = content
        for block in self.blocks:
            x = block(x, condition)
        for up, norm in zip(self.ups, self.norms, strict=True):
            x = norm(up(interpolate(x, scale_factor=2.0)), condition).relu()
        return pixel_shuffle(self.last(x), self.fold).float().tanh()

    def forward(self, images: Tensor, label: Tensor, style: Tensor) -> Tensor:
        """The pictures in the domains asked for."""
        return self.decode(self.content(images), label, style)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """One that keeps the sides, or halves them."""
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2)


def content_encoder(widths: list[int], stem: int, blocks: int) -> nn.Module:
    """Halve the sides but for the first: what the style is washed out of, by instance norm."""
    layers: list[nn.Module] = []
    for level, (before, after) in enumerate(pairwise(widths)):
        kernel, stride = (4, 2) if level else (stem, 1)
        layers += [convolution(before, after, kernel, stride), nn.InstanceNorm2d(after), nn.ReLU()]
    layers += [Residual(widths[-1], nn.InstanceNorm2d) for _ in range(blocks)]
    return nn.Sequential(*layers)


def style_encoder(widths: list[int], stem: int, halvings: int, latent: int) -> nn.Module:
    """To a vector, by the mean over places: without a norm, which would wash the style out."""
    layers: list[nn.Module] = [convolution(widths[0], widths[1], stem), nn.ReLU()]
    found = [*widths[1:], *[widths[-1]] * halvings][: halvings + 1]
    for before, after in pairwise(found):
        layers += [convolution(before, after, 4, 2), nn.ReLU()]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(found[-1], latent)]
    return nn.Sequential(*layers, *pool)
