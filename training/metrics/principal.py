"""Principal components of pictures: no linear code of as many numbers has less squared error.

Pictures are uint8 [N, H, W, C], their rows [N, D] in [0, 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from training.data.dataset import Images

Rows = NDArray[np.float64]


def rows_of(images: Images) -> Rows:
    """Every picture as a row."""
    rows: Rows = images.reshape(len(images), -1) / 255
    return rows


def principal_axes(images: Images, numbers: int) -> PCA:
    """The axes along which the pictures differ most; at most as many as pictures, or as pixels."""
    return PCA(numbers, svd_solver="covariance_eigh").fit(rows_of(images))


def remade(axes: PCA, images: Images) -> Rows:
    """What the axes hold of pictures; it may leave [0, 1]."""
    made: Rows = axes.inverse_transform(axes.transform(rows_of(images)))
    return made


def squared_errors(axes: PCA, images: Images, *, clipped: bool) -> Rows:
    """What the axes do not hold of each picture, [N], as a mean over its pixels.

    ``clipped``: to what a picture can show, as every decoder's pictures are; on Fashion-MNIST 4 %.
    """
    made = remade(axes, images)
    made = made.clip(0, 1) if clipped else made
    errors: Rows = np.square(made - rows_of(images)).mean(axis=1)
    return errors
