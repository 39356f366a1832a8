"""A translator as a user of ``ganymede export --module`` has it: trained, with its weights beside.

It takes the noise out of photographs, and lays fine grain over them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = "restorer.safetensors"
NOISE = 0.2  # standard deviation of what training adds to pictures in [-1, 1]
GRAIN = 0.02
SIDE, BATCH, STEPS, RATE = 24, 16, 250, 4e-3

SPEC = """
description: Photographs without their noise.
licence: {name: CC-BY-2.0}
tasks: [translate]
size: {kind: free, min_side: 8, max_side: 256, max_pixels: 65536, stride: 1, warm: [[32, 32]]}
inputs:
  - {role: image, name: image, channels: 3}
  - {role: noise, name: grain, shape: [1, height, width]}
  - {role: scalar, name: strength, low: 0, high: 1, default: 1}
outputs:
  - {kind: image, name: restored, channels: 3}
"""


class Restorer(nn.Module):
    """[N, 3, H, W], [N, 1, H, W], [N] -> [N, 3, H, W]; ``strength`` 0 leaves pictures as they are.

    It learns what to take away (Zhang et al. 2017, arXiv:1608.03981).
    """

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        self.noise = nn.Sequential(
            nn.Conv2d(3, channels, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 3, 3, padding=1),
        )

    def forward(self, image: Tensor, grain: Tensor, strength: Tensor) -> Tensor:
        change: Tensor = GRAIN * grain - self.noise(image)
        return torch.clamp(image + strength[:, None, None, None] * change, -1, 1)


def train(photographs: list[NDArray[np.uint8]], folder: Path) -> None:
    """Write the weights that restore crops of photographs, uint8 [H, W, 3] each."""
    random = np.random.default_rng(0)

    def batch() -> Tensor:
        crops = []
        for _ in range(BATCH):
            photograph = photographs[random.integers(len(photographs))]
            top, left = (random.integers(side - SIDE) for side in photograph.shape[:2])
            crops.append(photograph[top : top + SIDE, left : left + SIDE])
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1

    with torch.random.fork_rng():
        torch.manual_seed(0)
        restorer = Restorer()
    optimizer = torch.optim.Adam(restorer.parameters(), RATE)
    for step in range(STEPS):
        clean = batch()
        noise = NOISE * torch.from_numpy(random.standard_normal(clean.shape, np.float32))
        loss = functional.mse_loss(restorer.noise(clean + noise), noise)
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    save_file(restorer.state_dict(), folder / WEIGHTS)


def make_generator() -> nn.Module:
    """The network with the weights that lie beside this file."""
    restorer = Restorer()
    restorer.load_state_dict(load_file(Path(__file__).with_name(WEIGHTS)))
    return restorer
