"""How far is each generated picture from the nearest real one it learnt from?"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.dataset import Images

SIDE = 32  # pixels: larger pictures are made smaller before they are compared
CHUNK = 4096  # of training pictures

Points = NDArray[np.float32]


class Nearest(NamedTuple):
    """For each of M points the nearest other one: ``distance`` [M] and ``rows`` [M]."""

    distance: NDArray[np.floating[Any]]
    rows: NDArray[np.int64]


def points_of(images: Images) -> Points:
    """uint8 [N, H, W, C] as rows [N, D] in [-1, 1], of at most ``SIDE`` pixels a side."""
    rows = []
    for start in range(0, len(images), CHUNK):
        x = torch.from_numpy(np.array(images[start : start + CHUNK]))  # may be a read-only map
        x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
        if x.shape[2] > SIDE:
            x = torch.nn.functional.adaptive_avg_pool2d(x, SIDE)
        rows.append(x.flatten(1))
    return torch.cat(rows).numpy()


def nearest(points: Points, among: Points, own: NDArray[np.int64] | None = None) -> Nearest:
    """The nearest of ``among`` [N, D] to each of ``points`` [M, D].

    Args:
        points: asked about.
        among: memory is bounded whatever N.
        own: [M], which of ``among`` each point is itself, and is not to be found; None: none.
    """
    asked = torch.from_numpy(points)
    distance = torch.full((len(points),), torch.inf)
    index = torch.zeros(len(points), dtype=torch.int64)
    for start in range(0, len(among), CHUNK):
        table = torch.cdist(asked, torch.from_numpy(among[start : start + CHUNK]))
        if own is not None:
            _hide(table, torch.from_numpy(own) - start)
        least, at = table.min(dim=1)
        index = torch.where(least < distance, at + start, index)
        distance = torch.minimum(distance, least)
    return Nearest(distance.numpy(), index.numpy())


def _hide(table: Tensor, own: Tensor) -> None:
    rows = ((own >= 0) & (own < table.shape[1])).nonzero().flatten()
    table[rows, own[rows]] = torch.inf
