"""Pictures that classes tell apart, as a data set and as generators of them, good and bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 16
CLASSES = ("circle", "square", "star")


def stripes(labels: NDArray[np.int64], seed: int) -> NDArray[np.uint8]:
    """Noise with a bright stripe for each class, wider or narrower by chance, [N, H, W, 1]."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 64, (len(labels), SIDE, SIDE, 1), dtype=np.uint8)
    for image, label, width in zip(images, labels, random.integers(2, 5, len(labels)), strict=True):
        image[:, 5 * label : 5 * label + width] = random.integers(150, 255)
    return images


def write_stripes(
    path: Path,
    *,
    labelled: bool = True,
    train: int = 360,
    test: int = 180,
    mixed: tuple[int, ...] = (0, 1, 2),
) -> Path:
    """An .npz with both splits; ``mixed`` are the classes that follow each other, over and over."""
    splits: dict[str, Any] = {"classes": np.array(CLASSES)} if labelled else {}
    for name, count, seed in (("train", train, 0), ("test", test, 1)):
        labels = np.resize(mixed, count)
        splits[f"{name}_images"] = stripes(labels, seed)
        if labelled:
            splits[f"{name}_labels"] = labels
    np.savez(path, **splits)
    return path


def perfect(labels: NDArray[np.int64], seeds: list[int]) -> NDArray[np.uint8]:
    """Draw as the data was drawn."""
    return np.concatenate(
        [stripes(labels[k : k + 1], 1_000 + seed) for k, seed in enumerate(seeds)]
    )


def collapsed(labels: NDArray[np.int64], seeds: list[int]) -> NDArray[np.uint8]:
    """One picture for each class, whatever the seed."""
    return perfect(labels, [7] * len(seeds))
