"""The networks of a DCGAN: from a vector to a picture, and from a picture to features.

Radford et al. 2016 (arXiv:1511.06434), section 3. Each level doubles or halves the sides, down to
4, 5, 6 or 7 pixels. Systems that condition the generator build it of ``plan`` and ``upsample``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple

from pydantic import Field
from torch import Tensor, nn

from training.layers import Norm, levels, spectral
from training.recipe import MOST, Settings, Shape


class ConvolutionalConfig(Settings):
    """The shape of a convolutional pair."""

    base_channels: int = Field(
        32, gt=0, le=MOST, description="at full size; doubled at each halving"
    )
    max_channels: int = Field(512, gt=0, le=MOST)
    upsampling: Literal["nearest", "transposed"] = "nearest"
    d_base_channels: int = Field(32, gt=0, le=MOST)
    kernel: Literal[4, 5] = Field(
        4, description="side of what halves, and of the transposed convolutions that double"
    )
    d_norm: Norm = "spectral"
    d_stem: bool = Field(True, description="a 3x3 convolution at full size before halving")
    initial_std: float | None = Field(None, gt=0, description="0.02 is the paper's")


def upsample(
    config: ConvolutionalConfig, inputs: int, outputs: int, *, bias: bool = False
) -> nn.Module:
    """Twice the side: nearest neighbour and a 3x3 convolution, or the paper's transposed one.

    Nearest neighbour leaves no checkerboard, and a kernel of 4 less of it than the 5 of the paper's
    figure 1 and code, whose rows overlap unevenly (Odena et al. 2016).
    """
    if config.upsampling == "transposed":
        odd = config.kernel % 2
        return nn.ConvTranspose2d(
            inputs, outputs, config.kernel, 2, 1 + odd, output_padding=odd, bias=bias
        )
    convolution = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias)
    return nn.Sequential(nn.Upsample(scale_factor=2), convolution)


class Plan(NamedTuple):
    """The lowest side, the channels level by level, and the layer that makes the picture.

    The paper's last transposed convolution is that layer itself; after nearest neighbour it is a
    3x3 convolution at full size.
    """

    side: int
    channels: list[int]
    last: nn.Module


def plan(config: ConvolutionalConfig, image: Shape) -> Plan:
    """How a generator grows from its lowest side to the picture's."""
    halvings, side = levels(image.size)
    transposed = config.upsampling == "transposed"
    widths = [config.base_channels * 2**level for level in range(halvings - transposed, -1, -1)]
    channels = [min(config.max_channels, width) for width in widths]
    if transposed:
        last = upsample(config, channels[-1], image.channels, bias=True)
    else:
        last = nn.Conv2d(channels[-1], image.channels, 3, 1, 1)
    return Plan(side, channels, last)


class Generator(nn.Module):
    """[N, Z] -> [N, C, H, W] in [-1, 1]."""

    def __init__(self, config: ConvolutionalConfig, latent: int, image: Shape) -> None:
        super().__init__()
        side, channels, last = plan(config, image)
        self.latent = latent
        blocks: list[nn.Module] = [
            nn.Linear(latent, channels[0] * side * side, bias=False),
            nn.Unflatten(1, (channels[0], side, side)),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
        ]
        for inputs, outputs in pairwise(channels):
            blocks += [upsample(config, inputs, outputs)]
            blocks += [nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*blocks, last)

    def forward(self, z: Tensor) -> Tensor:
        """Pictures in [-1, 1]."""
        return self.layers(z).float().tanh()  # type: ignore[no-any-return]


class ModulatedBlock(nn.Module):
    """Upsample, convolve, normalise by a condition, ReLU: [N, C, H, W] -> [N, C', 2H, 2W].

    Args:
        config: of the pair.
        inputs: C.
        outputs: C'.
        norm: makes the normalisation of so many channels, which takes the condition too.
    """

    def __init__(
        self,
        config: ConvolutionalConfig,
        inputs: int,
        outputs: int,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.upsample = upsample(config, inputs, outputs)
        self.norm = norm(outputs)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Features of the next level."""
        return self.norm(self.upsample(x), condition).relu()  # type: ignore[no-any-return]


class Features(nn.Module):
    """The convolutional trunk of a discriminator: [N, C, H, W] -> [N, ``outputs``]."""

    def __init__(self, config: ConvolutionalConfig, channels: int, size: int) -> None:
        super().__init__()
        halvings, side = levels(size)
        norm, stem = config.d_norm, config.d_stem
        widths = [config.d_base_channels * 2**level for level in range(halvings + stem)]
        widths = [channels, *(min(config.max_channels, width) for width in widths)]
        blocks: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(pairwise(widths)):
            kernel, stride = (3, 1) if stem and level == 0 else (config.kernel, 2)
            padding = (kernel - 1) // 2
            blocks += [spectral(nn.Conv2d(inputs, outputs, kernel, stride, padding), norm)]
            blocks += [nn.BatchNorm2d(outputs)] if norm == "batch" and level else []
            blocks += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*blocks, nn.Flatten())
        self.outputs = widths[-1] * side * side

    def forward(self, images: Tensor) -> Tensor:
        """Flat features."""
        return self.layers(images)  # type: ignore[no-any-return]
