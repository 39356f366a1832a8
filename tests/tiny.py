"""A complete class-conditional bundle in milliseconds, made with onnx.helper and no torch.

Its generator is ``tanh(truncation * z @ weights + bias[label])``, through a convolution if asked
for: every input matters, in its own row alone. A label that is not in the classes makes ONNX
Runtime fail (Gather out of bounds): a poisoned row that passes every check of shape and type.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.bundle import Bundle, fingerprint, write_manifest
from export.manifest import (
    FixedSize,
    Graph,
    ImageOutput,
    Label,
    Latent,
    Licence,
    Manifest,
    Parity,
    Scalar,
)

LATENT = 8
OPSET = 17
PARITY = Parity(  # as of any ONNX file that is brought along: only rows can be compared
    batches=(1, 2, 3, 8, 17),
    onnx_max_abs=None,
    torchscript_max_abs=None,
    max_levels=0,
    pixels_differing=0.0,
    row_max_abs=0.0,
)
ONNX = "generate.onnx"


def tiny_bundle(
    folder: Path,
    *,
    name: str = "tiny",
    version: int = 1,
    classes: Sequence[str] = ("circle", "square", "star"),
    size: int = 8,
    channels: int = 1,
    convolution: bool = False,
    salt: int = 0,
) -> Bundle:
    """Write ``<folder>/<name>/<version>/``; another ``salt`` is another generator."""
    path = folder / name / str(version)
    path.mkdir(parents=True)
    model = tiny_graph(
        classes=len(classes), size=size, channels=channels, convolution=convolution, salt=salt
    )
    (path / ONNX).write_bytes(model.SerializeToString())
    return write_manifest(path, tiny_manifest(path, name, version, tuple(classes), size, channels))


def tiny_manifest(
    path: Path, name: str, version: int, classes: tuple[str, ...], size: int, channels: int
) -> Manifest:
    """The manifest of the files that lie in ``path``."""
    assert channels in (1, 3)
    graph = Graph(
        inputs=(
            Latent(name="z", shape=(LATENT,)),
            Label(name="label", classes=classes),
            Scalar(name="truncation", low=0.0, high=1.0, default=1.0),
        ),
        outputs=(ImageOutput(name="image", channels=1 if channels == 1 else 3),),
        onnx=ONNX,
    )
    return Manifest(
        name=name,
        version=version,
        created_utc="2026-01-01T00:00:00Z",
        description="A generator for tests.",
        tasks={"generate": "generate"},
        graphs={"generate": graph},
        size=FixedSize(height=size, width=size),
        files={ONNX: fingerprint(path / ONNX)},
        opset=OPSET,
        parity=PARITY,
        licence=Licence(name="CC0-1.0"),
    )


def tiny_graph(
    *, classes: int, size: int, channels: int = 1, convolution: bool = False, salt: int = 0
) -> onnx.ModelProto:
    """Z [N, 8], label [N], truncation [N] -> image uint8 [N, size, size, channels]."""
    generator = np.random.default_rng(salt)
    pixels = channels * size * size

    def normal(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape, dtype=np.float32)

    constants = {
        "weights": 0.3 * normal(LATENT, pixels),
        "bias": normal(classes, pixels),
        "kernel": 0.3 * normal(channels, channels, 3, 3),
        "one": np.array([1], np.int64),
        "planes": np.array([-1, channels, size, size], np.int64),
        "half": np.array(127.5, np.float32),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["truncation", "one"], ["column"]),
        node("Mul", ["z", "column"], ["truncated"]),
        node("MatMul", ["truncated", "weights"], ["projected"]),
        node("Gather", ["bias", "label"], ["class"]),
        node("Add", ["projected", "class"], ["flat"]),
        node("Reshape", ["flat", "planes"], ["drawn"]),
        node("Conv", ["drawn", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
        node("Tanh", ["convolved" if convolution else "drawn"], ["unit"]),
        node("Mul", ["unit", "half"], ["scaled"]),
        node("Add", ["scaled", "half"], ["levels"]),
        node("Round", ["levels"], ["rounded"]),
        node("Clip", ["rounded", "black", "white"], ["clipped"]),
        node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        node("Transpose", ["bytes"], ["image"], perm=[0, 2, 3, 1]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [each for each in nodes if convolution or each.op_type != "Conv"],
        "tiny",
        [
            value("z", TensorProto.FLOAT, ["batch", LATENT]),
            value("label", TensorProto.INT64, ["batch"]),
            value("truncation", TensorProto.FLOAT, ["batch"]),
        ],
        [value("image", TensorProto.UINT8, ["batch", size, size, channels])],
        [
            numpy_helper.from_array(array, name)
            for name, array in constants.items()
            if convolution or name != "kernel"
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model
