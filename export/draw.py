"""Roles and seeds to arrays: the only source of randomness of a served picture.

The service, the parity check, the evaluation and the TorchServe handler all draw here, so that
one seed is one picture wherever it is asked for. Each (seed, input name) has a Philox stream of
its own (Salmon et al. 2011): a new input never shifts an old one, and image k of a request can be
drawn again alone.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.dimension import resolve_shape
from export.manifest import Label, Latent, Noise

SEED_LIMIT = 2**53  # JSON numbers are doubles: every seed below is exact in every language

Array = NDArray[np.float32]


def image_seed(seed: int, k: int) -> int:
    """The seed of image ``k`` of a request with ``seed``: asked for alone, it is the same image."""
    return (seed + k) % SEED_LIMIT


def draw(entry: Latent | Noise, seeds: Sequence[int], height: int, width: int) -> Array:
    """One row per seed.

    Args:
        entry: the input to fill.
        seeds: of the images, each in [0, 2**53).
        height: of the picture asked for, in pixels; formulas in the shape refer to it.
        width: likewise.

    Returns:
        float32 [N, *shape].
    """
    shape = resolve_shape(entry.shape, height, width)
    rows = np.empty((len(seeds), *shape), np.float32)
    for row, seed in zip(rows, seeds, strict=True):
        _fill(row, entry, _STREAMS.at(seed, entry.name))
    return rows


def draw_label(entry: Label, seed: int) -> int:
    """The class, in [0, K), of an image for which none was asked."""
    return int(_STREAMS.at(seed, entry.name).random() * len(entry.classes))


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of one input of one image."""
    key = np.array([seed, zlib.crc32(name.encode())], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


class _Streams(threading.local):
    """One generator a thread, wound to the start of stream after stream.

    To make a new one takes four times as long, and asks the system for entropy that nobody uses.
    """

    def __init__(self) -> None:
        philox = np.random.Philox(key=0)
        self._generator, self._philox = np.random.Generator(philox), philox
        self._start: Any = philox.state
        self._key = self._start["state"]["key"]

    def at(self, seed: int, name: str) -> np.random.Generator:
        """As ``stream`` gives it, until this thread asks for the next."""
        self._key[:] = seed, zlib.crc32(name.encode())
        self._philox.state = self._start
        return self._generator


_STREAMS = _Streams()


def _fill(row: Array, entry: Latent | Noise, generator: np.random.Generator) -> None:
    match entry.distribution:
        case "normal":
            generator.standard_normal(dtype=np.float32, out=row)
        case "uniform":
            generator.random(dtype=np.float32, out=row)
            row *= 2
            row -= 1
        case "bernoulli":
            assert isinstance(entry, Noise)  # no latent has this distribution
            generator.random(dtype=np.float32, out=row)
            row[...] = row < entry.keep


def slerp(start: Array, end: Array, steps: int) -> Array:
    """Spherical interpolation, which keeps the norm that a Gaussian latent has in high dimensions.

    Shoemake 1985; White 2016 (arXiv:1609.04468), section 2.1. Parallel vectors fall back to the
    straight line.

    Args:
        start: float32 [*shape], returned exactly as the first row.
        end: float32 [*shape], returned exactly as the last row.
        steps: at least 2.

    Returns:
        float32 [steps, *shape].
    """
    a, b = start.astype(np.float64).ravel(), end.astype(np.float64).ravel()
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / norms, -1, 1)) if norms > 0 else 0.0
    t = np.linspace(0, 1, steps)[:, None]
    if np.sin(angle) < 1e-6:
        rows = (1 - t) * a + t * b
    else:
        rows = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    rows[0], rows[-1] = a, b
    return rows.reshape(steps, *start.shape).astype(np.float32)
