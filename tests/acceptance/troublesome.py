"""A bundle whose graph does as it is told: takes long, never ends, or fails, by two scalars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.bundle import Bundle, fingerprint, write_manifest
from export.manifest import FixedSize, Graph, ImageOutput, Latent, Licence, Manifest, Scalar

OPSET = 17
SIZE = 8
FOR_EVER = 1e12  # turns


def troublesome_bundle(folder: Path, name: str = "troublesome", version: int = 1) -> Bundle:
    """Write ``<folder>/<name>/<version>/``.

    Its scalars: ``turns``, of a loop that takes some microseconds for each; ``fault``, which makes
    ONNX Runtime fail when it is 1.
    """
    path = folder / name / str(version)
    path.mkdir(parents=True)
    (path / "generate.onnx").write_bytes(troublesome_graph().SerializeToString())
    graph = Graph(
        inputs=(
            Latent(name="z", shape=(1,)),
            Scalar(name="turns", low=0.0, high=FOR_EVER, default=0.0),
            Scalar(name="fault", low=0.0, high=1.0, default=0.0),
        ),
        outputs=(ImageOutput(name="image", channels=1),),
        onnx="generate.onnx",
    )
    manifest = Manifest(
        name=name,
        version=version,
        created_utc="2026-01-01T00:00:00Z",
        description="A generator that gets into trouble when asked to.",
        tasks={"generate": "generate"},
        graphs={"generate": graph},
        size=FixedSize(height=SIZE, width=SIZE),
        files={"generate.onnx": fingerprint(path / "generate.onnx")},
        opset=OPSET,
        licence=Licence(name="CC0-1.0"),
    )
    return write_manifest(path, manifest)


def troublesome_graph() -> onnx.ModelProto:
    """Z [N, 1], turns [N], fault [N] -> image uint8 [N, 8, 8, 1], grey by z."""
    node, value = helper.make_node, helper.make_tensor_value_info
    constants = {
        "true": np.array(True),
        "only": np.zeros(1, np.float32),
        "planes": np.array([-1, 1, 1, 1], np.int64),
        "pixels": np.array([1, SIZE, SIZE, 1], np.int64),
        "half": np.array(127.5, np.float32),
    }
    body = helper.make_graph(
        [
            node("Identity", ["goes_on"], ["goes_on_still"]),
            node("Tanh", ["grey"], ["bounded"]),
            node("Sin", ["bounded"], ["greyer"]),
        ],
        "turn",
        [
            value("turn", TensorProto.INT64, []),
            value("goes_on", TensorProto.BOOL, []),
            value("grey", TensorProto.FLOAT, None),
        ],
        [value("goes_on_still", TensorProto.BOOL, []), value("greyer", TensorProto.FLOAT, None)],
    )
    nodes = [
        node("ReduceMax", ["turns"], ["most"], keepdims=0),
        node("Cast", ["most"], ["count"], to=TensorProto.INT64),
        node("Loop", ["count", "true", "z"], ["turned"], body=body),
        node("Cast", ["fault"], ["index"], to=TensorProto.INT64),
        node("Gather", ["only", "index"], ["nothing"]),  # there is no element 1
        node("ReduceMax", ["nothing"], ["zero"], keepdims=0),
        node("Add", ["turned", "zero"], ["summed"]),
        node("Tanh", ["summed"], ["unit"]),
        node("Mul", ["unit", "half"], ["scaled"]),
        node("Add", ["scaled", "half"], ["levels"]),
        node("Cast", ["levels"], ["bytes"], to=TensorProto.UINT8),
        node("Reshape", ["bytes", "planes"], ["dots"]),
        node("Tile", ["dots", "pixels"], ["image"]),
    ]
    graph = helper.make_graph(
        nodes,
        "troublesome",
        [
            value("z", TensorProto.FLOAT, ["batch", 1]),
            value("turns", TensorProto.FLOAT, ["batch"]),
            value("fault", TensorProto.FLOAT, ["batch"]),
        ],
        [value("image", TensorProto.UINT8, ["batch", SIZE, SIZE, 1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model
