"""Maps of classes compared pixel by pixel, and colours that stand for classes.

Pixel accuracy, class accuracy and class IoU as Long, Shelhamer & Darrell 2015 (arXiv:1411.4038,
section 5) have them; Isola et al. 2017 (arXiv:1611.07004) call the three the FCN-score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.int64]
Palette = NDArray[np.uint8]
Confusion = NDArray[np.int64]

MOST_CLASSES = 256
LEAST_SHARE = 1e-3  # of the pixels: rarer colours are blends at an edge, or a format's noise
_CHUNK = 2**20


@dataclass(frozen=True)
class Segmentation:
    """How well one map agrees with another, each in [0, 1].

    Args:
        pixel_accuracy: the share of pixels that have their class.
        class_accuracy: the same for each class of the truth, then averaged.
        class_iou: pixels that are of a class in both maps, over those that are in either; averaged
            over the classes that are in any.
    """

    pixel_accuracy: float
    class_accuracy: float
    class_iou: float


def confusion(truth: Maps, found: Maps, classes: int) -> Confusion:
    """Pixels by their true class (row) and the one that was found, [K, K].

    Args:
        truth: of any shape, each in [0, K).
        found: of the same shape.
        classes: K.
    """
    if truth.shape != found.shape:
        raise ValueError(f"the maps have the shapes {truth.shape} and {found.shape}")
    pairs = truth.ravel() * classes + found.ravel()
    counts: Confusion = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return counts


def segmentation(counts: Confusion) -> Segmentation:
    """The three figures of a confusion [K, K] that holds a pixel or more."""
    right, true, found = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    either = true + found - right
    return Segmentation(
        pixel_accuracy=float(right.sum() / counts.sum()),
        class_accuracy=float(np.mean(right[true > 0] / true[true > 0])),
        class_iou=float(np.mean(right[either > 0] / either[either > 0])),
    )


def palette_of(maps: NDArray[np.uint8]) -> Palette:
    """The colours [K, C] that stand for classes in pictures of maps [N, H, W, C], in order.

    Raises:
        ValueError: there are too many, as in photographs.
    """
    colours, counts = np.unique(maps.reshape(-1, maps.shape[-1]), axis=0, return_counts=True)
    kept: Palette = colours[counts >= LEAST_SHARE * counts.sum()]
    if not 2 <= len(kept) <= MOST_CLASSES or counts[counts < LEAST_SHARE * counts.sum()].sum() > (
        counts.sum() / 2
    ):
        raise ValueError(
            f"{len(colours)} colours, {len(kept)} of them frequent: maps have one for each class"
        )
    return kept


def classes_of(maps: NDArray[np.uint8], palette: Palette) -> Maps:
    """The class of each pixel of [N, H, W, C], which is that of the nearest colour: [N, H, W]."""
    pixels = maps.reshape(-1, maps.shape[-1])
    colours = palette.astype(np.float32)
    found = np.empty(len(pixels), np.int64)
    for start in range(0, len(pixels), _CHUNK):
        part = pixels[start : start + _CHUNK].astype(np.float32)
        # |a - b|^2 without |a|^2, which is the same for every colour.
        distance = (colours**2).sum(axis=1) - 2 * part @ colours.T
        found[start : start + _CHUNK] = distance.argmin(axis=1)
    return found.reshape(maps.shape[:-1])
