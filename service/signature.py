"""What ONNX Runtime finds in a file, held against what the manifest says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from export.bundle import BundleError
from export.dimension import resolve_shape
from export.manifest import (
    FixedSize,
    Graph,
    Image,
    ImageOutput,
    Index,
    Input,
    Label,
    Output,
    Scalar,
    ScoreOutput,
    Size,
    Text,
)


class GraphMismatch(BundleError):
    """The graph in the file is not the one that the manifest describes."""


class Tensor(Protocol):
    """An input or output of a graph, as ONNX Runtime tells it; a free dimension is no integer."""

    name: str
    type: str
    shape: Sequence[int | str | None]


def check_signature(
    graph: Graph, size: Size, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    """Raise GraphMismatch unless names, types, ranks and fixed dimensions are the manifest's."""
    _check("input", graph.inputs, inputs, size)
    _check("output", graph.outputs, outputs, size)


def _check(
    kind: str, expected: Sequence[Input | Output], found: Sequence[Tensor], size: Size
) -> None:
    actual = {tensor.name: tensor for tensor in found}
    names = {entry.name for entry in expected}
    if names != set(actual):
        raise GraphMismatch(
            f"the graph has the {kind}s {sorted(actual)}, and the manifest says {sorted(names)}: "
            "export again"
        )
    for entry in expected:
        tensor = actual[entry.name]
        wanted_type, wanted_shape = signature_of(entry, size)
        if tensor.type != wanted_type or not _fits(tensor.shape, wanted_shape):
            wanted = ["batch", *("free" if d is None else d for d in wanted_shape)]
            raise GraphMismatch(
                f"the graph's {kind} {entry.name!r} is {tensor.type} {list(tensor.shape)}, and "
                f"the manifest says {wanted_type} {wanted}: export again"
            )


def signature_of(entry: Input | Output, size: Size) -> tuple[str, tuple[int | None, ...]]:
    """The ONNX type, and the shape of a row; None is a dimension that follows the size."""
    height, width = (size.height, size.width) if isinstance(size, FixedSize) else (None, None)
    match entry:
        case Label():
            return "tensor(int64)", ()
        case Text():
            return "tensor(int64)", (entry.length,)
        case Scalar() | ScoreOutput():
            return "tensor(float)", ()
        case Image():
            return "tensor(float)", (entry.channels, height, width)
        case ImageOutput():
            return "tensor(uint8)", (height, width, entry.channels)
    kind = "tensor(int64)" if isinstance(entry, Index) else "tensor(float)"
    if height is not None and width is not None:
        return kind, resolve_shape(entry.shape, height, width)
    return kind, tuple(d if isinstance(d, int) else None for d in entry.shape)


def _fits(actual: Sequence[int | str | None], wanted: tuple[int | None, ...]) -> bool:
    """Whether ``actual`` is a free batch axis, then dimensions that are equal, or free."""
    if len(actual) != 1 + len(wanted) or isinstance(actual[0], int):
        return False
    pairs = zip(actual[1:], wanted, strict=True)
    return all(not isinstance(found, int) or found == d for found, d in pairs)
