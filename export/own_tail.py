"""From a graph as its author gave it to one that a bundle holds: declared names, finished pictures.

Pictures that leave as floats get the same last steps that our own have: to [-1, 1], to levels, to
uint8, to [N, H, W, C].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from export.dimension import resolve_shape
from export.errors import SpecMismatch
from export.manifest import FixedSize, Image, Label, Scalar, ScoreOutput, Size
from export.own_graph import wanted_type
from export.servable import FLOAT
from export.spec import Given, Made, Picture, Spec
from export.walk import subgraphs

_THEIRS = "theirs."  # no declared name has a dot
_FREE = ("height", "width")
_IR = 4  # since then weights are no inputs


def finish(model: ModelProto, spec: Spec) -> ModelProto:
    """The graph with the declared inputs and outputs, then every float picture in [-1, 1].

    Args:
        model: as ``read_graph`` gave it; is not changed.
        spec: of it.

    Returns:
        A model whose outputs are named as in ``servable.Probe``.

    Raises:
        SpecMismatch: the graph cannot give what the spec declares.
    """
    full = ModelProto()
    full.CopyFrom(model)
    full.ir_version = max(full.ir_version, _IR)
    graph = full.graph
    declared = {ours: theirs for theirs, ours in spec.rename.items()}
    heads = [
        helper.make_node("Identity", [entry.name], [_THEIRS + declared.get(entry.name, entry.name)])
        for entry in spec.inputs
    ]
    _rename(graph)
    body = [*graph.node]
    del graph.input[:], graph.output[:], graph.node[:]
    graph.input.extend(_value(entry, spec.size) for entry in spec.inputs)
    graph.node.extend([*heads, *body])
    for entry in spec.outputs:
        graph.node.extend(_tail(entry, _THEIRS + declared.get(entry.name, entry.name), graph))
        graph.output.append(_value(entry, spec.size))
    for entry in spec.outputs:
        if isinstance(entry, Picture) and entry.values == "float32":
            axes = ["batch", entry.channels, *_FREE]
            name = entry.name + FLOAT
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, axes))
    try:
        onnx.checker.check_model(full, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise SpecMismatch(
            f"the graph cannot give what the spec declares: {' '.join(str(error).split())}"
        ) from error
    return full


def _rename(graph: GraphProto) -> None:
    """Put a prefix before every tensor's name, so that none is a name of ours."""
    sparse = [part for one in graph.sparse_initializer for part in (one.values, one.indices)]
    for tensor in (*graph.input, *graph.output, *graph.initializer, *sparse):
        tensor.name = _THEIRS + tensor.name
    for node in graph.node:
        node.input[:] = [name and _THEIRS + name for name in node.input]  # "" is one left out
        node.output[:] = [name and _THEIRS + name for name in node.output]
        for inner in subgraphs(node):
            _rename(inner)


def _tail(entry: Made, theirs: str, graph: GraphProto) -> Iterator[NodeProto]:
    if not isinstance(entry, Picture) or entry.values == "uint8":
        yield helper.make_node("Identity", [theirs], [entry.name])
        return

    def constant(name: str, value: float) -> str:
        array = np.array(value, np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(array, f"{entry.name}.{name}"))
        return f"{entry.name}.{name}"

    def step(operator: str, source: str, *more: str, to: str) -> NodeProto:
        return helper.make_node(operator, [source, *more], [f"{entry.name}.{to}"])

    one = constant("one", 1.0)
    if (entry.low, entry.high) == (-1.0, 1.0):
        yield step("Identity", theirs, to="float")
    else:
        half_range = constant("half_range", (entry.high - entry.low) / 2)
        yield step("Sub", theirs, constant("low", entry.low), to="above")
        yield step("Div", f"{entry.name}.above", half_range, to="scaled")
        yield step("Sub", f"{entry.name}.scaled", one, to="float")
    yield step("Add", entry.name + FLOAT, one, to="shifted")
    yield step("Mul", f"{entry.name}.shifted", constant("half", 127.5), to="levels")
    limits = constant("black", 0.0), constant("white", 255.0)
    yield step("Clip", f"{entry.name}.levels", *limits, to="clipped")
    yield step("Round", f"{entry.name}.clipped", to="rounded")
    bytes_ = f"{entry.name}.bytes"
    yield helper.make_node("Cast", [f"{entry.name}.rounded"], [bytes_], to=TensorProto.UINT8)
    yield helper.make_node("Transpose", [bytes_], [entry.name], perm=[0, 2, 3, 1])


def _value(entry: Given | Made, size: Size) -> ValueInfoProto:
    """An input or output as declared; an axis that follows the size has its formula for a name."""
    height, width = (size.height, size.width) if isinstance(size, FixedSize) else _FREE
    row: tuple[int | str, ...]
    match entry:
        case Image(channels=channels):
            row = (channels, height, width)
        case Picture(channels=channels):
            row = (height, width, channels)
        case Label() | Scalar() | ScoreOutput():
            row = ()
        case _:
            row = entry.shape
    if isinstance(size, FixedSize):
        row = resolve_shape(row, size.height, size.width)
    kind = TensorProto.UINT8 if isinstance(entry, Picture) else wanted_type(entry)
    return helper.make_tensor_value_info(entry.name, kind, ["batch", *row])
