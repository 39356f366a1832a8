"""An ONNX file that somebody brings: read, and refused where no service could answer with it.

What is taken is whole in one file, of operators that every ONNX Runtime we serve with has, and
has the inputs and outputs that its spec declares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from export.dimension import resolve_shape
from export.errors import GraphRefused, SpecMismatch
from export.manifest import Index, Label, ScoreOutput, VectorOutput
from export.rows import row_shape
from export.spec import Given, Made, Picture, Spec
from export.to_onnx import OPSET, opset, strip
from export.walk import nodes, refuse_randomness, tensors

# What ONNX Runtime 1.20 reads, the oldest that the service may be installed with.
NEWEST_OPSET, NEWEST_IR = 21, 10
OLDEST_OPSET = 11  # since then Clip takes its limits as inputs, and Dropout is off by default

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # of ONNX Runtime itself


def read_graph(path: Path, spec: Spec) -> ModelProto:
    """The model in a file, without its author's notes.

    Raises:
        GraphRefused: it is not ONNX, not whole, too new or too old, or has operators of others.
        SpecMismatch: its inputs or outputs are not what the spec declares.
    """
    model = _parse(path)
    _refuse_what_is_elsewhere(model)
    _refuse_versions(model)
    _refuse_operators_of_others(model)
    refuse_randomness(model)
    strip(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphRefused(f"{path} is not valid ONNX: {_line(error)}") from error
    check_signature(model, spec)
    return model


def graph_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """The inputs that a caller fills; old files list their weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _parse(path: Path) -> ModelProto:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise GraphRefused(f"{path} cannot be read: {error.strerror}") from None
    try:
        model = onnx.load_model_from_string(raw)
    except Exception as error:  # protobuf's, which is no package of ours
        raise GraphRefused(f"{path} is not an ONNX file: {_line(error)}") from error
    if not model.graph.node:
        raise GraphRefused(f"{path} is not an ONNX file: it holds no graph")
    return model


def _refuse_what_is_elsewhere(model: ModelProto) -> None:
    for tensor in tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            location = next(
                (one.value for one in tensor.external_data if one.key == "location"), ""
            )
            raise GraphRefused(
                f"tensor {tensor.name!r} is outside the file, in {location!r}: put all into one "
                "file with torch.onnx.export(..., external_data=False), or "
                "onnx.save_model(onnx.load(path), path)"
            )


def _refuse_versions(model: ModelProto) -> None:
    for entry in model.opset_import:
        if entry.domain == "ai.onnx":  # its other name
            entry.domain = ""
    if all(entry.domain for entry in model.opset_import):
        raise GraphRefused("the file does not say its opset: export it again")
    number = opset(model)
    if not OLDEST_OPSET <= number <= NEWEST_OPSET:
        raise GraphRefused(
            f"the graph is of opset {number}; {OLDEST_OPSET} to {NEWEST_OPSET} are served: export "
            f"it with opset_version={OPSET}, or use onnx.version_converter"
        )
    if model.ir_version > NEWEST_IR:
        raise GraphRefused(
            f"the file is of IR version {model.ir_version}; up to {NEWEST_IR} are served: set "
            f"model.ir_version = {NEWEST_IR} and save it again"
        )


def _refuse_operators_of_others(model: ModelProto) -> None:
    inside = {(function.domain, function.name) for function in model.functions}
    others = {
        f"{node.domain}.{node.op_type}"
        for node in nodes(model)
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in inside
    }
    if others:
        raise GraphRefused(
            f"the graph has custom operators, {', '.join(sorted(others))}, which ONNX Runtime does "
            "not have: export it with standard ones"
        )


def check_signature(model: ModelProto, spec: Spec) -> None:
    """Names, types and shapes, as far as the graph tells them.

    Raises:
        SpecMismatch: says what to change, in the spec or in the graph.
    """
    inputs = _named(graph_inputs(model), spec)
    if sorted(name for name, _ in inputs) != sorted(entry.name for entry in spec.inputs):
        raise SpecMismatch(_other_names("inputs", inputs, spec.inputs))
    outputs = _named(model.graph.output, spec)  # those that the spec leaves out are left out
    if not {name for name, _ in outputs} >= {entry.name for entry in spec.outputs}:
        raise SpecMismatch(_other_names("outputs", outputs, spec.outputs))
    _check("input", dict(inputs), spec.inputs, spec)
    _check("output", dict(outputs), spec.outputs, spec)


def _named(values: Iterable[ValueInfoProto], spec: Spec) -> list[tuple[str, ValueInfoProto]]:
    return [(spec.rename.get(value.name, value.name), value) for value in values]


def _other_names(
    kind: str, found: list[tuple[str, ValueInfoProto]], declared: Sequence[Given | Made]
) -> str:
    wanted, named = [entry.name for entry in declared], {name for name, _ in found}
    theirs = [value.name for name, value in found if name not in wanted]
    pairs = zip(theirs, [name for name in wanted if name not in named], strict=False)
    cure = ", ".join(f"{one}: {other}" for one, other in pairs)
    return (
        f"the graph has the {kind} {', '.join(value.name for _, value in found)}, and the spec "
        f"declares {', '.join(wanted)}: declare what it has"
        + (f", or add `rename: {{{cure}}}` to the spec" if cure else "")
    )


def _check(
    kind: str, found: dict[str, ValueInfoProto], declared: Iterable[Given | Made], spec: Spec
) -> None:
    for entry in declared:
        value = found[entry.name]
        tensor = value.type.tensor_type
        axes = [_axis(dim) for dim in tensor.shape.dim]
        if axes and isinstance(axes[0], int):
            raise SpecMismatch(
                f"{kind} {value.name!r} of the graph has a batch fixed at {axes[0]}: export it "
                f"with a free first axis (dynamic_axes={{{value.name!r}: {{0: 'batch'}}}})"
            )
        for height, width in spec.size.examples():
            wanted = wanted_type(entry), wanted_shape(entry, height, width)
            if tensor.elem_type == wanted[0] and _fits(axes, wanted[1]):
                continue
            at = "" if spec.size.kind == "fixed" else f" at {height}x{width}"
            raise SpecMismatch(
                f"{kind} {value.name!r} of the graph is {_dtype(tensor.elem_type)} {_told(axes)}, "
                f"and the spec declares {entry.name!r} as {_dtype(wanted[0])} "
                f"{_told(['batch', *wanted[1]])}{at}: change the spec, or export the graph so"
            )


def wanted_type(entry: Given | Made) -> int:
    """The ONNX type of a tensor that is as declared."""
    match entry:
        case Picture(values="uint8"):
            return TensorProto.UINT8
        case Label() | Index():
            return TensorProto.INT64
    return TensorProto.FLOAT


def wanted_shape(entry: Given | Made, height: int, width: int) -> tuple[int, ...]:
    """The shape of one row of it, for pictures of ``height`` x ``width`` pixels."""
    match entry:
        case Picture(values="uint8", channels=channels):
            return (height, width, channels)
        case Picture(channels=channels):
            return (channels, height, width)
        case VectorOutput(shape=shape):
            return resolve_shape(shape, height, width)
        case ScoreOutput():
            return ()
    return row_shape(entry, height, width)


def _axis(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"


def _fits(axes: Sequence[int | str], row: Sequence[int]) -> bool:
    pairs = list(zip(axes[1:], row, strict=False))
    return len(axes) == 1 + len(row) and all(
        isinstance(axis, str) or axis == length for axis, length in pairs
    )


def _dtype(number: int) -> str:
    return "float32" if number == TensorProto.FLOAT else TensorProto.DataType.Name(number).lower()


def _told(axes: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, axes))}]"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
