"""What the soak serves: the starter, and two versions of a model that starts from pictures.

The second is made here, of any size and without torch. ``translate`` is ``(1 - gain * strength) *
source + grain``, where the gain is the version's; ``encode`` is the mean of each channel, ``score``
the mean of all.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.bundle import Bundle, fingerprint, load_bundle, write_manifest
from export.manifest import (
    FreeSize,
    Graph,
    Image,
    ImageOutput,
    Licence,
    Manifest,
    Noise,
    Scalar,
    ScoreOutput,
    Task,
    VectorOutput,
)
from service.config import starter_folder

STARTER, PICTURES = "fashion", "grained"
VERSIONS = (1, 2)
OPSET = 17
SIZE = FreeSize(min_side=16, max_side=128, max_pixels=128**2, stride=4, warm=((32, 32), (64, 64)))
SOURCE = Image(name="source", channels=3)
PLANE = (3, "height", "width")
GRAPHS: dict[Task, Graph] = {
    "translate": Graph(
        inputs=(
            SOURCE,
            Scalar(name="strength", low=0, high=1, default=0.5),
            Noise(name="grain", shape=PLANE),
        ),
        outputs=(ImageOutput(name="image", channels=3),),
        onnx="translate.onnx",
    ),
    "encode": Graph(
        inputs=(SOURCE,),
        outputs=(VectorOutput(name="vector", shape=(3,)),),
        onnx="encode.onnx",
    ),
    "score": Graph(inputs=(SOURCE,), outputs=(ScoreOutput(name="score"),), onnx="score.onnx"),
}


def make_models(folder: Path) -> list[Bundle]:
    """Write every model that is served into ``folder``."""
    shutil.copytree(starter_folder() / STARTER, folder / STARTER)
    starters = [load_bundle(path) for path in sorted((folder / STARTER).iterdir())]
    return starters + [_picture_bundle(folder, version) for version in VERSIONS]


def _picture_bundle(folder: Path, version: int) -> Bundle:
    path = folder / PICTURES / str(version)
    path.mkdir(parents=True)
    for task, graph in GRAPHS.items():
        (path / graph.onnx).write_bytes(_model(task, version).SerializeToString())
    manifest = Manifest(
        name=PICTURES,
        version=version,
        created_utc="2026-01-01T00:00:00Z",
        description="A model of any size for the soak.",
        tasks={task: task for task in GRAPHS},
        graphs=dict(GRAPHS),
        size=SIZE,
        files={graph.onnx: fingerprint(path / graph.onnx) for graph in GRAPHS.values()},
        opset=OPSET,
        licence=Licence(name="CC0-1.0"),
    )
    return write_manifest(path, manifest)


def _model(task: Task, gain: float) -> onnx.ModelProto:
    value, float32 = helper.make_tensor_value_info, TensorProto.FLOAT
    source = value("source", float32, ["batch", *PLANE])
    inputs = [source]
    if task == "translate":
        inputs.append(value("strength", float32, ["batch"]))
        inputs.append(value("grain", float32, ["batch", *PLANE]))
        nodes = _translation()
        output = value("image", TensorProto.UINT8, ["batch", "height", "width", 3])
    elif task == "encode":
        nodes = [helper.make_node("ReduceMean", ["source"], ["vector"], axes=[2, 3], keepdims=0)]
        output = value("vector", float32, ["batch", 3])
    else:
        nodes = [helper.make_node("ReduceMean", ["source"], ["score"], axes=[1, 2, 3], keepdims=0)]
        output = value("score", float32, ["batch"])
    constants: dict[str, NDArray[Any]] = {
        "column": np.array([-1, 1, 1, 1], np.int64),
        "one": np.array(1, np.float32),
        "gain": np.array(gain, np.float32),
        "half": np.array(127.5, np.float32),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
    }
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, task, inputs, [output], tensors if task == "translate" else [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _translation() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Mul", ["strength", "gain"], ["pull"]),
        node("Sub", ["one", "pull"], ["factor"]),
        node("Reshape", ["factor", "column"], ["factors"]),
        node("Mul", ["source", "factors"], ["pulled"]),
        node("Add", ["pulled", "grain"], ["grained"]),
        node("Mul", ["grained", "half"], ["scaled"]),
        node("Add", ["scaled", "half"], ["levels"]),
        node("Round", ["levels"], ["rounded"]),
        node("Clip", ["rounded", "black", "white"], ["clipped"]),
        node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        node("Transpose", ["bytes"], ["image"], perm=[0, 2, 3, 1]),
    ]
