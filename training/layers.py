"""Layers that more than one system uses, and what their weights begin as."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.errors import ConfigError
from training.processes import whole

Norm = Literal["spectral", "batch", "none"]


class ConditionalBatchNorm2d(nn.Module):
    """Batch normalisation whose scale and shift are looked up by class.

    Dumoulin et al. 2017 (arXiv:1610.07629), eq. 5; de Vries et al. 2017.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(classes, channels)
        self.shift = nn.Embedding(classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[N, C, H, W] features and [N] classes -> [N, C, H, W]."""
        normalised: Tensor = self.norm(x)
        # In the features' own type: a float32 scale would turn bfloat16 features back into float32.
        scale = self.scale(y)[..., None, None].to(normalised.dtype)
        shift = self.shift(y)[..., None, None].to(normalised.dtype)
        return torch.addcmul(shift, normalised, scale)


class AffineBatchNorm2d(nn.Module):
    """Batch normalisation whose scale and shift are affine in a condition's vector.

    Of a class, that is ``ConditionalBatchNorm2d``; de Vries et al. 2017 (arXiv:1707.00683), eq. 3.
    """

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Linear(condition, channels)
        self.shift = nn.Linear(condition, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[N, C, H, W] features and [N, E] conditions -> [N, C, H, W]."""
        normalised: Tensor = self.norm(x)
        scale = (1 + self.scale(condition))[..., None, None].to(normalised.dtype)
        shift = self.shift(condition)[..., None, None].to(normalised.dtype)
        return torch.addcmul(shift, normalised, scale)


class Maxout(nn.Module):
    """The largest of ``pieces`` linear maps, unit by unit. Goodfellow et al. 2013 (1302.4389)."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units * pieces)
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs] -> [N, units]."""
        return torch.amax(self.linear(x).unflatten(1, (-1, self.pieces)), dim=2)


def spectral(layer: nn.Module, norm: Norm) -> nn.Module:
    """The layer with its spectral norm held at 1, if ``norm`` asks for it.

    Miyato et al. 2018 (arXiv:1802.05957), section 2.1, by power iteration.
    """
    return spectral_norm(layer) if norm == "spectral" else layer


def initialise(network: nn.Module, std: float | None) -> None:
    """Weights from N(0, std) and batch norm scales from N(1, std), or PyTorch's defaults.

    A spectrally normalised layer is left alone: its weight has norm 1 whatever it began with.
    """
    if std is None:
        return
    for module in network.modules():
        if hasattr(module, "parametrizations"):
            continue
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1.0, std)


def one_hot_maps(y: Tensor, classes: int, images: Tensor) -> Tensor:
    """[N] classes -> [N, K, H, W]: one constant map per class, of the images' size and type."""
    hot = nn.functional.one_hot(y, classes).to(images.dtype)
    return hot[..., None, None].expand(-1, -1, *images.shape[2:])


def to_uint8(x: Tensor) -> Tensor:
    """[N, C, H, W] in [-1, 1] to uint8 [N, H, W, C]; half a level rounds to even."""
    return ((x + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def shifted(images: Tensor, most: int) -> Tensor:
    """Each picture moved by up to ``most`` pixels in both directions, its edge repeated.

    Translation of Zhao et al. 2020 (arXiv:2006.10738), section 3.2: what a discriminator sees, real
    and generated alike, so that it cannot learn few pictures by heart.
    """
    if not most:
        return images
    count, _, height, width = images.shape
    draws = torch.rand(count, 2, device=images.device) * (2 * most + 1)
    down, right = (draws.long() - most)[:, :, None].unbind(1)  # [N, 1]
    rows = (torch.arange(height, device=images.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + right).clamp(0, width - 1)
    each = torch.arange(count, device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def levels(size: int) -> tuple[int, int]:
    """How often a picture's side halves down to 4, 5, 6 or 7 pixels: (halvings, lowest side).

    Raises:
        ConfigError: the side is not 4, 5, 6 or 7 times a power of two, from 2 up.
    """
    halvings, side = 0, size
    while side > 7 and side % 2 == 0:
        halvings, side = halvings + 1, side // 2
    if not 4 <= side <= 7 or halvings == 0:
        valid = [low * 2**k for low in (4, 5, 6, 7) for k in range(1, 10)]
        near = sorted(sorted(valid, key=lambda side: abs(side - size))[:3])
        raise ConfigError(
            f"pictures of {size} pixels cannot be halved down to 4, 5, 6 or 7: choose a near size, "
            f"{', '.join(map(str, near))} (--set data.size={near[1]})"
        )
    return halvings, side


class MinibatchDiscrimination(nn.Module):
    """Beside each row's features, how near it is to the others of its batch, in B learnt senses.

    Salimans et al. 2016 (arXiv:1606.03498), section 3.2: M_i = f(x_i) T with T [A, B, C],
    c_b(x_i, x_j) = exp(-||M_ib - M_jb||_1), o(x_i)_b = sum_j c_b(x_i, x_j), row i itself included.

    Args:
        inputs: A, the length of the features.
        kernels: B.
        dims: C, the dimensions in which a kernel measures a distance.
    """

    def __init__(self, inputs: int, kernels: int, dims: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, kernels * dims, bias=False)
        self.dims = dims

    def forward(self, features: Tensor) -> Tensor:
        """[N, A] -> [N, A + B]."""
        projected = self.project(features).float().unflatten(1, (-1, self.dims))
        distances = (projected[:, None] - whole(projected)[None]).abs().sum(3)  # [N, N, B]
        return torch.cat([features.float(), torch.exp(-distances).sum(1)], 1)


class MinibatchDeviation(nn.Module):
    """Beside each row's features, how much features vary over the batch: one number for all rows.

    Karras et al. 2018 (arXiv:1710.10196), section 3, over the whole batch.
    """

    def forward(self, features: Tensor) -> Tensor:
        """[N, A] -> [N, A + 1]."""
        features = features.float()
        variance = whole(features).var(0, unbiased=False)
        deviation = (variance + 1e-8).sqrt().mean()  # a feature that never varies has a slope too
        return torch.cat([features, deviation.expand(len(features), 1)], 1)


def pack(images: Tensor, together: int) -> Tensor:
    """[N, C, H, W] -> [N / m, m C, H, W]: m pictures are judged together, as channels of one.

    Lin et al. 2018 (arXiv:1712.04086), section 2.

    Raises:
        ConfigError: N is not a multiple of m.
    """
    if len(images) % together:
        raise ConfigError(
            f"{len(images)} images cannot be packed {together} at a time: choose schedule.batch "
            f"(divided by schedule.accumulate and the processes) as a multiple of recipe.packing"
        )
    return images.reshape(len(images) // together, -1, *images.shape[2:])
