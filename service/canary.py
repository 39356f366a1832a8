"""A first inference before a model is offered: one row with every input at a harmless value."""

from __future__ import annotations

import numpy as np

from export.dimension import resolve_shape
from export.draw import draw
from export.manifest import (
    FixedSize,
    Graph,
    Image,
    ImageOutput,
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
from service.rows import Array, Rows
from service.signature import GraphMismatch


def warm_sizes(size: Size) -> tuple[tuple[int, int], ...]:
    """The heights and widths that are run before a model is offered."""
    return ((size.height, size.width),) if isinstance(size, FixedSize) else size.warm


def specimen(graph: Graph, height: int, width: int) -> Rows:
    """One row that any graph with these inputs must answer: seed 0, first class, default knobs."""
    return Rows({entry.name: _value(entry, height, width) for entry in graph.inputs})


def _value(entry: Input, height: int, width: int) -> Array:
    match entry:
        case Latent() | Noise():
            return draw(entry, [0], height, width)
        case Label():
            return np.zeros(1, np.int64)
        case Text():
            return np.zeros((1, entry.length), np.int64)
        case Image():
            grey = (entry.low + entry.high) / 2
            return np.full((1, entry.channels, height, width), grey, np.float32)
        case Scalar():
            return np.full(1, entry.default, np.float32)
        case Index():
            shape = resolve_shape(entry.shape, height, width)
            return np.full((1, *shape), entry.default, np.int64)
        case Vector():
            return np.zeros((1, *resolve_shape(entry.shape, height, width)), np.float32)


def check_answer(graph: Graph, size: Size, answer: Rows) -> None:
    """Raise GraphMismatch when the answer to a specimen is not what the manifest promises."""
    for output in graph.outputs:
        array = answer[output.name]
        if not np.isfinite(array).all():
            raise GraphMismatch(f"output {output.name!r} is not finite: train or export again")
        if isinstance(output, ImageOutput) and isinstance(size, FixedSize):
            wanted = (1, size.height, size.width, output.channels)
            if array.shape != wanted:
                raise GraphMismatch(
                    f"output {output.name!r} has the shape {array.shape}, and the manifest says "
                    f"{wanted}: export again"
                )
