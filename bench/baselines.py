"""What any generator must beat: a Gaussian on principal components of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from export.reality import Labelled
from export.scoring import Sample
from training.data.dataset import Images, Labels

NUMBERS = 64  # of each component analysis
NAME = f"PCA-{NUMBERS} Gaussian"


@dataclass(frozen=True, eq=False)
class _Gaussian:
    """Pictures as a mean and a normal code, of independent numbers."""

    axes: PCA
    deviation: NDArray[np.float64]

    def draw(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        codes = [np.random.default_rng(seed).standard_normal(len(self.deviation)) for seed in seeds]
        made: NDArray[np.float64] = self.axes.inverse_transform(np.stack(codes) * self.deviation)
        return made


def gaussian_sampler(known: Labelled, classes: int) -> Sample:
    """A sampler that learnt the first principal components of each class, or of all pictures.

    Args:
        known: training images.
        classes: one Gaussian for each; 0: one for all.
    """
    groups = [known.take(np.flatnonzero(known.labels == k)) for k in range(classes)] or [known]
    fitted = [_fit(group.images) for group in groups]
    shape = known.images.shape[1:]

    def sample(labels: Labels, seeds: list[int]) -> Images:
        pixels = np.empty((len(seeds), int(np.prod(shape))))
        for k, one in enumerate(fitted):
            rows = np.flatnonzero(labels == k) if classes else np.arange(len(seeds))
            if len(rows):
                pixels[rows] = one.draw([seeds[row] for row in rows])
        return np.clip(np.round(pixels), 0, 255).astype(np.uint8).reshape(-1, *shape)

    return sample


def _fit(images: Images) -> _Gaussian:
    pixels = images.reshape(len(images), -1).astype(np.float64)
    axes = PCA(min(NUMBERS, *pixels.shape), svd_solver="full").fit(pixels)
    return _Gaussian(axes, np.sqrt(axes.explained_variance_))
