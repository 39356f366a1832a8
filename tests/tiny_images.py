"""Complete bundles that start from pictures, made with onnx.helper and no torch.

``translate`` is ``(1 - 2 * strength) * source + grain``, in mosaic tiles if asked for: with the
strength 0 a picture comes back as it was, with 1 as its negative. ``encode`` is the mean of each
channel, ``score`` the mean of all. ``generate`` is ``tanh(truncation * z)``. With a style, which is
a number for each channel, ``translate`` adds it, and ``encode`` tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.bundle import Bundle, fingerprint, write_manifest
from export.manifest import (
    FixedSize,
    Graph,
    Image,
    ImageOutput,
    Input,
    Label,
    Latent,
    Licence,
    Manifest,
    Noise,
    Output,
    Scalar,
    ScoreOutput,
    Size,
    Task,
    VectorOutput,
)

OPSET = 17
SIZE = FixedSize(height=8, width=8)
Channels = Literal[1, 3, 4]


def picture_bundle(
    folder: Path,
    *,
    name: str = "invert",
    version: int = 1,
    size: Size = SIZE,
    channels: Channels = 3,
    tasks: Sequence[Task] = ("translate",),
    grain: bool = False,
    tile: int = 1,
    classes: tuple[str, ...] = (),
    style: bool = False,
) -> Bundle:
    """Write ``<folder>/<name>/<version>/``.

    Args:
        folder: of models.
        name: of the model.
        version: likewise.
        size: of its pictures; a free one's stride must be a multiple of ``tile``.
        channels: of its pictures.
        tasks: what it answers, each with a graph of that name.
        grain: whether ``translate`` adds noise, drawn from the seed.
        tile: side of the mosaic's tiles, in pixels.
        classes: each is a brightness that is added to pictures, if there are any.
        style: whether ``translate`` draws one and ``encode`` tells it, which then has the
            brightness of the class added too.
    """
    path = folder / name / str(version)
    path.mkdir(parents=True)
    graphs: dict[str, Graph] = {}
    for task in tasks:
        graph = _described(task, channels, grain, classes, style)
        model = _model(graph, _nodes(task, graph, tile), _constants(channels, tile, classes))
        (path / graph.onnx).write_bytes(model.SerializeToString())
        graphs[task] = graph
    manifest = Manifest(
        name=name,
        version=version,
        created_utc="2026-01-01T00:00:00Z",
        tasks={task: task for task in tasks},
        graphs=graphs,
        size=size,
        files={graph.onnx: fingerprint(path / graph.onnx) for graph in graphs.values()},
        opset=OPSET,
        licence=Licence(name="CC0-1.0"),
    )
    return write_manifest(path, manifest)


def _described(
    task: Task, channels: Channels, grain: bool, classes: tuple[str, ...], style: bool
) -> Graph:
    plane = (channels, "height", "width")
    knob = Scalar(name="strength", low=0, high=1, default=1)
    label = [Label(name="label", classes=classes)] if classes else []
    source = Image(name="source", channels=channels)
    inputs: list[Input] = [source]
    output: Output = ImageOutput(name="image", channels=channels)
    if task == "generate":
        z = Latent(name="z", shape=plane)
        inputs = [z, knob.model_copy(update={"name": "truncation"}), *label]
    elif task == "encode":
        output = VectorOutput(name="style" if style else "vector", shape=(channels,))
        inputs += label if style else []
    elif task == "score":
        output = ScoreOutput(name="score")
    else:
        drawn = [Latent(name="style", shape=(channels,))] if style else []
        inputs += [knob, *drawn, *([Noise(name="grain", shape=plane)] if grain else []), *label]
    return Graph(inputs=tuple(inputs), outputs=(output,), onnx=f"{task}.onnx")


def _constants(channels: int, tile: int, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {
        "column": np.array([-1, 1, 1, 1], np.int64),
        "row": np.array([-1, 1], np.int64),
        "planes": np.array([-1, channels, 1, 1], np.int64),
        "one": np.array(1, np.float32),
        "two": np.array(2, np.float32),
        "half": np.array(127.5, np.float32),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
        "tiles": np.array([1, 1, tile, tile], np.float32),
        "lights": np.linspace(0, 1, max(1, len(classes)), dtype=np.float32),
    }


def _nodes(task: Task, graph: Graph, tile: int) -> list[onnx.NodeProto]:
    node = helper.make_node
    if task == "encode":
        [told] = [output.name for output in graph.outputs]
        if graph.label is None:
            return [node("ReduceMean", ["source"], [told], axes=[2, 3], keepdims=0)]
        return [
            node("ReduceMean", ["source"], ["mean"], axes=[2, 3], keepdims=0),
            node("Gather", ["lights", "label"], ["light"]),
            node("Reshape", ["light", "row"], ["lit"]),
            node("Add", ["mean", "lit"], [told]),
        ]
    if task == "score":
        return [node("ReduceMean", ["source"], ["score"], axes=[1, 2, 3], keepdims=0)]
    if task == "generate":
        nodes = [
            node("Reshape", ["truncation", "column"], ["factors"]),
            node("Mul", ["z", "factors"], ["truncated"]),
            node("Tanh", ["truncated"], ["turned"]),
        ]
    else:
        nodes = [
            node("Mul", ["strength", "two"], ["doubled"]),
            node("Sub", ["one", "doubled"], ["factor"]),
            node("Reshape", ["factor", "column"], ["factors"]),
            node("Mul", ["source", "factors"], ["turned"]),
        ]
    last = "turned"
    names = {entry.name for entry in graph.inputs}
    if "style" in names:
        nodes.append(node("Reshape", ["style", "planes"], ["laid"]))
        nodes.append(node("Add", [last, "laid"], ["styled"]))
        last = "styled"
    if "grain" in names:
        nodes.append(node("Add", [last, "grain"], ["grained"]))
        last = "grained"
    if "label" in names:
        nodes.append(node("Gather", ["lights", "label"], ["light"]))
        nodes.append(node("Reshape", ["light", "column"], ["lit"]))
        nodes.append(node("Add", [last, "lit"], ["bright"]))
        last = "bright"
    if tile > 1:
        side = [tile, tile]
        nodes.append(node("AveragePool", [last], ["pooled"], kernel_shape=side, strides=side))
        nodes.append(node("Resize", ["pooled", "", "tiles"], ["tiled"], mode="nearest"))
        last = "tiled"
    return [*nodes, *_to_bytes(last)]


def _to_bytes(unit: str) -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Mul", [unit, "half"], ["scaled"]),
        node("Add", ["scaled", "half"], ["levels"]),
        node("Round", ["levels"], ["rounded"]),
        node("Clip", ["rounded", "black", "white"], ["clipped"]),
        node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        node("Transpose", ["bytes"], ["image"], perm=[0, 2, 3, 1]),
    ]


def _model(
    graph: Graph, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "pictures",
            [_value(entry) for entry in graph.inputs],
            [_value(entry) for entry in graph.outputs],
            [numpy_helper.from_array(constants[n], n) for n in sorted(used & constants.keys())],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model


def _value(entry: Input | Output) -> onnx.ValueInfoProto:
    kind: int = TensorProto.FLOAT
    shape: list[Any] = []
    match entry:
        case Image():
            shape = [entry.channels, "height", "width"]
        case Latent() | Noise() | VectorOutput():
            shape = list(entry.shape)
        case Label():
            kind = TensorProto.INT64
        case ImageOutput():
            kind, shape = TensorProto.UINT8, ["height", "width", entry.channels]
    return helper.make_tensor_value_info(entry.name, kind, ["batch", *shape])
