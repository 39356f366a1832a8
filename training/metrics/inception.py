"""The Inception-v3 of FID: the graph of 2015 that Heusel et al. 2017 (arXiv:1706.08500) used.

Szegedy et al. 2016 (arXiv:1512.00567), as it was trained in TensorFlow: averages over 3x3 leave
padding out, and the pool of the last block takes the greatest. Names of parameters are those of the
file ``pt_inception-2015-12-05-6726825d.pth`` that pytorch-fid, torch-fidelity and torchmetrics
read; 2048 features of the last pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE, WIDTH = 299, 2048
CLASSES = 1008

Kernel = int | tuple[int, int]
Layer = tuple[str, int, Kernel]
"""Name, channels, kernel; ``same`` sides unless the branch ends in a stride."""


class Convolution(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, *, padded: bool = True
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps."""
        return functional.relu(self.bn(self.conv(x)))


def average(x: Tensor) -> Tensor:
    """Over 3x3, of what is in the picture."""
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def greatest(x: Tensor) -> Tensor:
    """Over 3x3, as large as before."""
    return functional.max_pool2d(x, 3, 1, 1)


def halved(x: Tensor) -> Tensor:
    """The greatest over 3x3, at every second place."""
    return functional.max_pool2d(x, 3, 2)


class Mixed(nn.Module):
    """Branches side by side: chains of convolutions, each layer under its own name.

    Args:
        inputs: channels.
        branches: chains. Where the last layers of a chain have one name but for a final ``a`` and
            ``b``, both take what comes before, and both are given.
        pool: before the convolution ``branch_pool``, or instead of it when that has no channels.
        pooled: channels of ``branch_pool``; 0 where the block halves its pictures.
    """

    def __init__(
        self,
        inputs: int,
        branches: tuple[tuple[Layer, ...], ...],
        pool: Callable[[Tensor], Tensor],
        pooled: int = 0,
    ) -> None:
        super().__init__()
        self.branches = tuple(tuple(name for name, _, _ in chain) for chain in branches)
        self.pool, self.pooled = pool, pooled
        for chain in branches:
            channels = inputs
            for name, outputs, kernel in chain:
                last = not pooled and name == chain[-1][0]
                layer = Convolution(channels, outputs, kernel, 2 if last else 1, padded=not last)
                self.add_module(name, layer)
                channels = channels if name.endswith("a") else outputs
        if pooled:
            self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of all branches, and the pool's, as channels."""
        given = [part for names in self.branches for part in self._chain(names, x)]
        rest = self.pool(x)
        return torch.cat([*given, self.branch_pool(rest) if self.pooled else rest], 1)

    def _chain(self, names: tuple[str, ...], x: Tensor) -> list[Tensor]:
        layers: Mapping[str, nn.Module] = self._modules  # type: ignore[assignment]
        if names[-1].endswith("b"):
            for name in names[:-2]:
                x = layers[name](x)
            return [layers[name](x) for name in names[-2:]]
        for name in names:
            x = layers[name](x)
        return [x]


def _a(inputs: int, pooled: int) -> Mixed:
    five = (("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5))
    three = (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3))
    return Mixed(inputs, ((("branch1x1", 64, 1),), five, three), average, pooled)


def _b(inputs: int) -> Mixed:
    three = (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3))
    return Mixed(inputs, ((("branch3x3", 384, 3),), three), halved)


def _c(inputs: int, wide: int) -> Mixed:
    across, down = (1, 7), (7, 1)
    seven = (("branch7x7_1", wide, 1), ("branch7x7_2", wide, across), ("branch7x7_3", 192, down))
    double = (
        ("branch7x7dbl_1", wide, 1),
        ("branch7x7dbl_2", wide, down),
        ("branch7x7dbl_3", wide, across),
        ("branch7x7dbl_4", wide, down),
        ("branch7x7dbl_5", 192, across),
    )
    return Mixed(inputs, ((("branch1x1", 192, 1),), seven, double), average, 192)


def _d(inputs: int) -> Mixed:
    seven = (
        ("branch7x7x3_1", 192, 1),
        ("branch7x7x3_2", 192, (1, 7)),
        ("branch7x7x3_3", 192, (7, 1)),
        ("branch7x7x3_4", 192, 3),
    )
    return Mixed(inputs, ((("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)), seven), halved)


def _e(inputs: int, pool: Callable[[Tensor], Tensor]) -> Mixed:
    three = (
        ("branch3x3_1", 384, 1),
        ("branch3x3_2a", 384, (1, 3)),
        ("branch3x3_2b", 384, (3, 1)),
    )
    double = (
        ("branch3x3dbl_1", 448, 1),
        ("branch3x3dbl_2", 384, 3),
        ("branch3x3dbl_3a", 384, (1, 3)),
        ("branch3x3dbl_3b", 384, (3, 1)),
    )
    return Mixed(inputs, ((("branch1x1", 320, 1),), three, double), pool, 192)


class InceptionV3(nn.Module):
    """Pictures [N, 3, H, W] with levels 0 to 255 to features [N, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _a(192, 32), _a(256, 64), _a(288, 64)
        self.Mixed_6a = _b(288)
        self.Mixed_6b, self.Mixed_6c = _c(768, 128), _c(768, 160)
        self.Mixed_6d, self.Mixed_6e = _c(768, 160), _c(768, 192)
        self.Mixed_7a = _d(768)
        self.Mixed_7b, self.Mixed_7c = _e(1280, average), _e(2048, greatest)
        self.fc = nn.Linear(WIDTH, CLASSES)  # in the file; features are what comes before it

    def forward(self, x: Tensor) -> Tensor:
        """The means over the picture of the last feature maps."""
        x = (tensorflow_resized(x, SIDE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = halved(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(halved(x))))
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


def tensorflow_resized(x: Tensor, side: int) -> Tensor:
    """[N, C, H, W] at ``side`` pixels as TensorFlow 1 had it: bilinear, corners at 0, no smoothing.

    FID is defined by it: PyTorch's own bilinear resizing gives other features.
    """
    rows, columns = (_interpolation(size, side).to(x) for size in x.shape[2:])
    return rows @ x @ columns.T


def _interpolation(size: int, side: int) -> Tensor:
    """[side, size]: row k takes from the two pixels around k * size / side."""
    place = torch.arange(side) * (size / side)
    low = place.long()
    share = place - low
    matrix = torch.zeros(side, size)
    matrix.scatter_add_(1, low[:, None], (1 - share)[:, None])
    matrix.scatter_add_(1, (low + 1).clamp_max(size - 1)[:, None], share[:, None])
    return matrix
