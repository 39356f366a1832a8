"""A servable as one ONNX graph, by ``torch.export`` and torch's exporter built on it.

The graph that comes out first also has the float pictures, on which parity is measured;
``published`` is the same graph without them. Both are free of what the exporter notes about the
machine: source paths, stack traces, class hierarchies.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import Tensor
from torch.export.dynamic_shapes import Dim

from export.errors import ConversionFailed
from export.manifest import FreeSize, Input, Size
from export.rows import row_shape, sizes, varied_rows
from export.servable import FLOAT, Probe, Servable
from export.walk import graphs, nodes

OPSET = 20  # read by ONNX Runtime 1.17 and later

_EXAMPLE_ROWS = 2  # torch.export would take a batch of 0 or 1 for a constant


def example(servable: Servable, size: Size) -> tuple[Tensor, ...]:
    """Rows to trace a servable with, one tensor per input."""
    height, width = sizes(size)[0]
    rows = varied_rows(servable.inputs, range(_EXAMPLE_ROWS), height, width)
    return tuple(torch.from_numpy(rows[entry.name]) for entry in servable.inputs)


def to_onnx(servable: Servable, size: Size) -> onnx.ModelProto:
    """The graph with its float pictures, named as in ``Probe``; the batch is free.

    Raises:
        ConversionFailed: torch cannot export the network.
    """
    probe = Probe(servable)
    axes = tuple(_free_axes(entry, size) for entry in servable.inputs)
    try:
        with _quiet(), torch.no_grad():
            # One level deeper than the inputs: forward takes them as *rows.
            program = torch.export.export(probe, example(servable, size), dynamic_shapes=(axes,))
            exported = torch.onnx.export(
                program,
                (),
                input_names=[entry.name for entry in servable.inputs],
                output_names=probe.names,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch.export raises a zoo; all of it means the same here
        reason = str(error).strip().partition("\n")[0]
        raise ConversionFailed(
            f"torch cannot turn the generator into ONNX: {reason} (a row must not depend on the "
            "batch size, nor control flow on values)"
        ) from error
    assert exported is not None  # it is None only when torch writes the file itself
    model = exported.model_proto
    strip(model)
    _name_batch(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def published(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph without the float pictures."""
    smaller = onnx.ModelProto()
    smaller.CopyFrom(model)
    kept = [output for output in model.graph.output if not output.name.endswith(FLOAT)]
    del smaller.graph.output[:]
    smaller.graph.output.extend(kept)
    onnx.checker.check_model(smaller, full_check=True)
    return smaller


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the graph uses."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain == "")


def _free_axes(entry: Input, size: Size) -> dict[int, object]:
    """Axis -> Dim: the batch, and with free sizes every axis that follows the size."""
    axes: dict[int, object] = {0: Dim("batch", min=1)}
    if isinstance(size, FreeSize):
        height, width = size.warm[0]
        usual, larger = row_shape(entry, height, width), row_shape(entry, 2 * height, 2 * width)
        for axis, (length, other) in enumerate(zip(usual, larger, strict=True), start=1):
            if length != other:
                axes[axis] = Dim.AUTO
    return axes


def strip(model: onnx.ModelProto) -> None:
    """Remove what an exporter notes for its developers; paths of the machine are in it."""
    for owner in (model, *model.functions, *graphs(model), *nodes(model)):
        owner.doc_string = ""
        del owner.metadata_props[:]
    for part in (*model.functions, *graphs(model)):
        del part.value_info[:]
    for graph in graphs(model):
        del graph.quantization_annotation[:]
        for tensor in (*graph.input, *graph.output, *graph.initializer):
            tensor.doc_string = ""
            del tensor.metadata_props[:]


def _name_batch(model: onnx.ModelProto) -> None:
    """Give the first axis its name: the exporter calls it ``s17`` or so."""
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says about itself, and nothing else."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    registry.setLevel(logging.ERROR)  # one warning per operator of an absent torchvision
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(  # torch.export uses its own deprecated class
                "ignore", message=r".isinstance\(treespec, LeafSpec\)", category=FutureWarning
            )
            yield
    finally:
        registry.setLevel(level)
