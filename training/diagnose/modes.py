"""Which kinds of real pictures does a generator never make?

The bins of Richardson & Weiss 2018 (arXiv:1805.12462): k-means of the real pictures, in the space
of their principal components. Where the pictures have labels, a bin is called by its most frequent
one; a bin is a kind of picture, and a class may have several.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from training.data.dataset import Labels

COMPONENTS = 48
BINS = 20
PER_BIN = 10  # real pictures at least, on average
FIT = 10_000  # real pictures that bins are made of, at most
MISSING = 0.1  # of the pictures that a bin should get: below, it is missing

Features = NDArray[np.floating[Any]]
Points = NDArray[np.float32]


@dataclass(frozen=True)
class Mode:
    """A bin: a kind of real picture.

    Args:
        name: its most frequent label, or its number.
        real_share: of the real pictures.
        share: of the generated ones.
        example: index of the real picture nearest to its centre.
    """

    name: str
    real_share: float
    share: float
    example: int

    @property
    def missing(self) -> bool:
        """Whether the generator all but never makes it."""
        return self.share < MISSING * self.real_share


class Bins:
    """Principal components and bins of real pictures.

    Args:
        real: [N, D].
        labels: [N], or None.
        classes: their names.
    """

    def __init__(self, real: Points, labels: Labels | None, classes: tuple[str, ...]) -> None:
        chosen = np.linspace(0, len(real) - 1, min(FIT, len(real))).astype(np.int64)
        fit = real[chosen]
        self.pca = PCA(min(COMPONENTS, *fit.shape), random_state=0).fit(fit)
        features = self.components(fit)
        count = max(1, min(BINS, len(fit) // PER_BIN))
        self.kmeans = KMeans(count, n_init=2, random_state=0).fit(features)
        placed = self.kmeans.labels_
        self.shares = np.bincount(placed, minlength=count) / len(fit)
        distances = self.kmeans.transform(features)
        self.examples = [int(chosen[row]) for row in distances.argmin(axis=0)]
        found = None if labels is None else labels[chosen]
        self.names = [
            f"kind {k}" if found is None else classes[_commonest(found[placed == k])]
            for k in range(count)
        ]

    def components(self, points: Points) -> Features:
        """[N, D] -> [N, components]."""
        features: Features = self.pca.transform(points)
        return features

    def modes(self, generated: Points) -> list[Mode]:
        """Every bin, with its share of generated pictures [M, D]."""
        placed = self.kmeans.predict(self.components(generated))
        shares = np.bincount(placed, minlength=len(self.shares)) / len(generated)
        rows = zip(self.names, self.shares, shares, self.examples, strict=True)
        return [Mode(name, float(real), float(share), at) for name, real, share, at in rows]


def missing_share(modes: list[Mode]) -> float:
    """The share of the real pictures whose kind the generator never makes."""
    return sum(mode.real_share for mode in modes if mode.missing)


def tell_missing(modes: list[Mode]) -> str:
    """The missing modes in words, the largest first, those of one name together."""
    every = Counter(mode.name for mode in modes)
    largest = sorted(modes, key=lambda mode: -mode.real_share)
    missing = Counter(mode.name for mode in largest if mode.missing)
    return ", ".join(
        name if every[name] == 1 else f"{name} ({count} of {every[name]} kinds)"
        for name, count in missing.items()
    )


def _commonest(labels: Labels) -> int:
    return int(np.bincount(labels).argmax())
