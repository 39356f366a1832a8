"""Sources computed from the pictures themselves: what a translator is to undo.

An operator is a pure function of one picture, uint8 [H, W, C] -> [H, W, C'], and of a random stream
that is the picture's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from training.data.dataset import Dataset, Images, fingerprint
from training.data.decode import with_channels
from training.data.kept import kept
from training.data.wanted import Wanted

FORMAT = 1  # of what the operators make: raise it when one changes
REPORT_EVERY = 50
WHITE, BLACK = 255, 0

Operator = Callable[[Images, np.random.Generator], Images]
Plane = NDArray[np.float64]

# Edges: Canny 1986 (PAMI 8), on luma in [0, 1].
BLUR_PIXELS = 1.0  # standard deviation
WEAK, STRONG = 0.03, 0.06  # gradient, a pixel
SHRINK = 4  # of downscale: each side
HOLE = (0.25, 0.5)  # of mask: least and most share of each side


def edges(picture: Images, stream: np.random.Generator) -> Images:
    """Black lines one pixel wide on white, [H, W, 1]: Canny's edges."""
    luma = ndimage.gaussian_filter(with_channels(picture, 1)[..., 0] / 255.0, BLUR_PIXELS)
    down, right = ndimage.sobel(luma, 0) / 8, ndimage.sobel(luma, 1) / 8
    strength = np.hypot(down, right)
    ridges = np.where(_is_ridge(strength, down, right), strength, 0)
    lines, count = ndimage.label(ridges > WEAK, np.ones((3, 3)))
    strongest = ndimage.maximum(ridges, lines, np.arange(count + 1))
    drawn = np.asarray(strongest)[lines] > STRONG
    drawn &= lines > 0
    return np.where(drawn, BLACK, WHITE).astype(np.uint8)[..., None]


def _is_ridge(strength: Plane, down: Plane, right: Plane) -> NDArray[np.bool_]:
    """Where no neighbour across the edge is stronger, the directions rounded to 45 degrees."""
    octant = np.round(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 4
    padded = np.pad(strength, 1)
    height, width = strength.shape
    ridge = np.zeros(strength.shape, bool)
    for direction, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        behind = padded[1 - dy : 1 - dy + height, 1 - dx : 1 - dx + width]
        ridge |= (octant == direction) & (strength >= ahead) & (strength > behind)
    return ridge


def greyscale(picture: Images, stream: np.random.Generator) -> Images:
    """Luma alone, [H, W, 1]: to be coloured."""
    return with_channels(picture, 1)


def downscale(picture: Images, stream: np.random.Generator) -> Images:
    """A quarter of each side and back, [H, W, C]: to be sharpened."""
    height, width = picture.shape[:2]
    small = max(1, width // SHRINK), max(1, height // SHRINK)
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    back = image.resize(small, Image.Resampling.BOX).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return np.asarray(back).reshape(picture.shape)


def mask(picture: Images, stream: np.random.Generator) -> Images:
    """A white rectangle in some place, [H, W, C]: to be filled. Pathak et al. 2016 (1604.07379)."""
    holed = picture.copy()
    sides = [max(1, int(side * stream.uniform(*HOLE))) for side in picture.shape[:2]]
    top, left = (
        int(stream.integers(side - hole + 1))
        for side, hole in zip(picture.shape[:2], sides, strict=True)
    )
    holed[top : top + sides[0], left : left + sides[1]] = WHITE
    return holed


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {"edges": edges, "greyscale": greyscale, "downscale": downscale, "mask": mask}
)


def with_computed_sources(data: Dataset, name: str, wanted: Wanted) -> Dataset:
    """The same images, each to be produced from what operator ``name`` makes of it.

    Raises:
        DataError: the cache cannot be written.
    """
    operator = OPERATORS[name]

    def compute() -> Iterator[Images]:
        for row, picture in enumerate(data.images):
            yield operator(np.asarray(picture), _stream(row))
            if (row + 1) % REPORT_EVERY == 0 or row + 1 == len(data):
                wanted.progress(name, row + 1, len(data))

    example = operator(np.asarray(data.images[0]), _stream(0))
    facts = [FORMAT, name, fingerprint(data.images, None, ())]
    shape = (len(data), *example.shape[:2], example.shape[2])
    sources = kept(wanted.cache, list(facts), shape, compute)
    whole = fingerprint(data.images, data.labels, data.classes, sources)
    return replace(data, sources=sources, fingerprint=whole, domains=())


def _stream(row: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=row))
