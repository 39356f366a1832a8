"""The inputs of a graph as arrays, one row per picture, filled by role.

Two fillers: ``varied_rows`` gives every input a different value in every row, to compare graphs;
``chosen_rows`` gives a caller's labels and knobs and the defaults of all else, to sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.dimension import resolve_shape
from export.draw import draw, stream
from export.errors import InvalidChoice
from export.manifest import (
    FixedSize,
    Image,
    Index,
    Input,
    Label,
    Latent,
    Noise,
    Scalar,
    Size,
    Text,
    Vector,
)

Rows = dict[str, NDArray[Any]]
"""Name -> array [N, ...]: the inputs of a graph, or its outputs."""

Run = Callable[[Rows], Rows]
"""A graph as a function, whatever computes it."""


def cut(rows: Rows, start: int, stop: int) -> Rows:
    """The rows from ``start`` until before ``stop``."""
    return {name: array[start:stop] for name, array in rows.items()}


def sizes(size: Size) -> tuple[tuple[int, int], ...]:
    """The [height, width] of a bundle's usual pictures, in pixels; the first is the most usual."""
    return ((size.height, size.width),) if isinstance(size, FixedSize) else size.warm


def tried_sizes(size: Size) -> tuple[tuple[int, int], ...]:
    """The [height, width] at which an export is checked: with the smallest, and one not square."""
    if isinstance(size, FixedSize):
        return sizes(size)
    smallest, next_to_it = size.examples()[0][0], size.examples()[0][0] + size.stride
    tried = [*size.warm, (smallest, smallest)]
    if next_to_it <= size.max_side and smallest * next_to_it <= size.max_pixels:
        tried.append((smallest, next_to_it))
    return tuple(dict.fromkeys(tried))


def row_shape(entry: Input, height: int, width: int) -> tuple[int, ...]:
    """The shape of one row of an input for pictures of ``height`` x ``width`` pixels."""
    match entry:
        case Label() | Scalar():
            return ()
        case Text(length=length):
            return (length,)
        case Image(channels=channels):
            return (channels, height, width)
        case _:
            return resolve_shape(entry.shape, height, width)


def varied_rows(inputs: Sequence[Input], seeds: Sequence[int], height: int, width: int) -> Rows:
    """One row per seed in which every input differs from row to row, ends of ranges included."""
    return {entry.name: _varied(entry, seeds, height, width) for entry in inputs}


def _varied(entry: Input, seeds: Sequence[int], height: int, width: int) -> NDArray[Any]:
    shape = row_shape(entry, height, width)
    streams = [stream(seed, entry.name) for seed in seeds]
    match entry:
        case Latent() | Noise():
            return draw(entry, seeds, height, width)
        case Label(classes=classes):
            return np.array([seed % len(classes) for seed in seeds], np.int64)
        case Scalar(low=low, high=high):
            return np.array([high - (high - low) * (seed % 5) / 4 for seed in seeds], np.float32)
        case Index(high=high):
            return np.stack([rng.integers(high, size=shape, dtype=np.int64) for rng in streams])
        case Vector():
            return np.stack([rng.standard_normal(shape, np.float32) for rng in streams])
        case Image(low=low, high=high):
            levels = np.stack([rng.integers(256, size=shape) for rng in streams])
            return (low + (high - low) * levels / 255).astype(np.float32)
        case Text():  # ids 0 (padding) and 1 exist in every vocabulary
            return np.stack([rng.integers(2, size=shape, dtype=np.int64) for rng in streams])


def chosen_rows(
    inputs: Sequence[Input],
    seeds: Sequence[int],
    height: int,
    width: int,
    *,
    labels: Sequence[int] = (),
    scalars: Mapping[str, float] | None = None,
    given: Rows | None = None,
) -> Rows:
    """One row per seed: what is drawn from the seed, what was chosen, and defaults for the rest.

    Args:
        inputs: of the graph.
        seeds: one per row.
        height: of the pictures, in pixels.
        width: likewise.
        labels: class indices, one per row; used by a graph with a label alone.
        scalars: knobs by name; the others have their defaults.
        given: rows of inputs that are there already, by name.

    Raises:
        InvalidChoice: the graph needs what no seed can give (an image, a text that is not here).
    """
    chosen: Rows = {}
    for entry in inputs:
        if given and entry.name in given:
            chosen[entry.name] = given[entry.name]
            continue
        shape = (len(seeds), *row_shape(entry, height, width))
        match entry:
            case Latent() | Noise():
                chosen[entry.name] = draw(entry, seeds, height, width)
            case Label():
                chosen[entry.name] = np.asarray(labels, np.int64)
            case Scalar(name=name, default=default):
                value = (scalars or {}).get(name, default)
                chosen[name] = np.full(shape, value, np.float32)
            case Index(default=default):
                chosen[entry.name] = np.full(shape, default, np.int64)
            case Vector():
                chosen[entry.name] = np.zeros(shape, np.float32)
            case Image() | Text():
                raise InvalidChoice(f"input {entry.name!r} is a {entry.role}: no seed draws it")
    return chosen
