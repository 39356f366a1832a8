"""PatchGAN: a discriminator that judges every patch of a picture by itself.

Isola et al. 2017 (arXiv:1611.07004), section 3.2.2 and appendix 6.1.2. Its size is the receptive
field of one logit: 1, 16, 34, 70, 142 or 286 pixels, by how often the sides are halved.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from training.errors import ConfigError
from training.layers import spectral

PatchNorm = Literal["instance", "spectral", "none"]
MAX_FACTOR = 8  # of the width of the first layer
SLOPE = 0.2
LEAST = 3  # side of what is left for the last two layers, which take off a pixel each
HALVINGS = {16: 1, 34: 2, 70: 3, 142: 4, 286: 5}  # receptive field -> layers that halve


class PatchDiscriminator(nn.Module):
    """[N, C, H, W] -> [N, h, w] logits, one a patch.

    Args:
        inputs: C.
        width: of the first layer; doubled at each, up to eight times.
        patch: its receptive field, in pixels; 1 is the paper's PixelGAN.
        norm: of all layers but the first and the last.
    """

    def __init__(self, inputs: int, width: int, patch: int, norm: PatchNorm) -> None:
        super().__init__()
        if patch == 1:
            widths, kernels, strides = [width, 2 * width], [1, 1, 1], [1, 1, 1]
        else:
            halvings = HALVINGS[patch]
            widths = [width * min(2**level, MAX_FACTOR) for level in range(halvings + 1)]
            kernels, strides = [4] * (halvings + 2), [2] * halvings + [1, 1]
        self.layers = nn.Sequential(*_layers(inputs, widths, kernels, strides, norm))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.layers(images).squeeze(1)  # type: ignore[no-any-return]


class PatchPyramid(nn.Module):
    """A judge of its own for the picture and for each half of the one before.

    Wang et al. 2018 (arXiv:1711.11585), section 3.2.

    Args:
        scales: how many; the others are of each ``PatchDiscriminator``.
    """

    def __init__(self, scales: int, inputs: int, width: int, patch: int, norm: PatchNorm) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            PatchDiscriminator(inputs, width, patch, norm) for _ in range(scales)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits [N, h, w] at each scale."""
        found = []
        for scale, judge in enumerate(self.judges):
            found.append(judge(avg_pool2d(images, 2**scale) if scale else images))
        return found


def _layers(
    inputs: int, widths: list[int], kernels: list[int], strides: list[int], norm: PatchNorm
) -> Sequence[nn.Module]:
    layers: list[nn.Module] = []
    shapes = zip(pairwise((inputs, *widths, 1)), kernels, strides, strict=True)
    for place, ((before, after), kernel, stride) in enumerate(shapes):
        normed = norm == "instance" and 0 < place < len(widths)
        padding = 0 if kernel == 1 else 1
        layer = nn.Conv2d(before, after, kernel, stride, padding, bias=not normed)
        layers.append(spectral(layer, "spectral" if norm == "spectral" else "none"))
        if normed:
            layers.append(nn.InstanceNorm2d(after, affine=True))
        if place < len(widths):
            layers.append(nn.LeakyReLU(SLOPE))
    return layers


def receptive_field(network: nn.Module) -> int:
    """The side in pixels of what one output of a chain of convolutions sees."""
    side, step = 1, 1
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            side += (layer.kernel_size[0] - 1) * step
            step *= layer.stride[0]
    return side


def patch_of(size: int, patch: int | Literal["full"]) -> int:
    """The receptive field asked for; ``full`` is the smallest that holds a picture of ``size``.

    Raises:
        ConfigError: no patch is so large, or pictures leave nothing for so many halvings.
    """
    if patch == "full":
        largest = max(HALVINGS)
        if size > largest:
            raise ConfigError(
                f"no patch holds a picture of {size} pixels: choose recipe.patch={largest}"
            )
        field = next(field for field in HALVINGS if field >= size)
    else:
        field = patch
    if field > 1 and size // 2 ** HALVINGS[field] < LEAST:
        largest = max((f for f, n in HALVINGS.items() if size // 2**n >= LEAST), default=1)
        raise ConfigError(
            f"a patch of {field} pixels needs larger pictures than {size}: choose "
            f"recipe.patch={largest}"
        )
    return field
