"""How different pictures of the same request look, by LPIPS, where its weights are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from export.manifest import Quality
from training.data.dataset import Images, Labels
from training.metrics.lpips import SIDE, lpips, within

Grouped = tuple[Images, NDArray[np.int64]]


def looks(kind: str, made: Grouped, others: Grouped | Images, told: str) -> Iterator[Quality]:
    """LPIPS within groups of made pictures; nothing where the weights are not installed.

    Args:
        kind: of the groups, in the plural: "sources".
        made: uint8 [N, H, W, C], and the group of each.
        others: for reference; without groups they are one.
        told: what these are.
    """
    network = lpips()
    if network is None:
        return
    images, groups = made
    if not isinstance(others, tuple):
        others = others, np.zeros(len(others), np.int64)
    count = len(np.unique(groups))
    yield Quality(
        metric=f"LPIPS within {kind}",
        value=within(network, images, groups),
        reference=within(network, *others),
        samples=len(images),
        protocol=f"LPIPS 0.1 in AlexNet, smaller pictures at {SIDE} px; mean of two of "
        f"{len(images) // count} pictures, {count} {kind}; reference: of {told}",
    )


def few(labels: Labels, most: int) -> NDArray[np.int64]:
    """The first rows of each class, ``most`` at most."""
    return np.concatenate([np.flatnonzero(labels == k)[:most] for k in np.unique(labels)])
