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
# Of maps that were scaled, or kept as JPEG: levels within which neighbours are one colour, and
# colours one class; the share of the pixels inside areas that a class has.
FLAT, NEAR, LEAST_INSIDE = 8, 40, 1e-4
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

    Where some are rare, as scaling and JPEG leave them, those that fill areas: a class that is
    nowhere three pixels wide is then lost.

    Raises:
        ValueError: there are too many, as in photographs.
    """
    pixels = maps.reshape(-1, maps.shape[-1])
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    kept: Palette = colours
    most = len(pixels)
    if counts.min() < LEAST_SHARE * len(pixels):
        kept = _merged(np.concatenate([_inside(each) for each in maps]))
        apart = np.full(len(colours), 256, np.int16)
        for colour in kept:
            apart = np.minimum(apart, _apart(colours, colour))
        most = counts[apart <= 2 * FLAT].sum()
    if not 2 <= len(kept) <= MOST_CLASSES or most < len(pixels) / 2:
        raise ValueError(
            f"{len(colours)} colours, {len(kept)} of them frequent: maps have one for each class"
        )
    return kept


def _inside(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels [M, C] of [H, W, C] whose eight neighbours have the same colour, nearly."""
    height, width = picture.shape[0] - 2, picture.shape[1] - 2
    middle = picture[1:-1, 1:-1]
    flat = np.ones(middle.shape[:2], bool)
    for top, left in np.ndindex(3, 3):
        flat &= _apart(picture[top : top + height, left : left + width], middle) <= FLAT
    return middle[flat]


def _merged(pixels: NDArray[np.uint8]) -> Palette:
    """Of pixels [M, C] the most frequent colour, of those not near it the most frequent, ..."""
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    kept = []
    while len(colours):
        first = colours[counts.argmax()]
        near = _apart(colours, first) <= NEAR
        if counts[near].sum() >= LEAST_INSIDE * len(pixels):
            kept.append(first)
        colours, counts = colours[~near], counts[~near]
    return np.unique(np.array(kept, np.uint8).reshape(-1, pixels.shape[-1]), axis=0)


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The largest difference of a channel, in levels: [..., C] -> [...]."""
    found: NDArray[np.int16] = np.abs(one.astype(np.int16) - other).max(axis=-1)
    return found


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
