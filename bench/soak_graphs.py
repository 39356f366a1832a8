"""The graphs of the soak's own models, without torch.

``translate`` is ``(1 - gain * strength) * source + style + light[label] + grain``, where the gain
is the version's; ``encode`` is the mean of each channel, which is a style; ``score`` the mean of
all. ``generate`` is ``tanh(z + the mean of the words' colours)``, the colours being random weights.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.manifest import (
    FixedSize,
    FreeSize,
    Graph,
    Image,
    ImageOutput,
    Input,
    Label,
    Latent,
    Noise,
    Output,
    Scalar,
    ScoreOutput,
    Task,
    Text,
    VectorOutput,
)

OPSET = 17
ANY_SIZE = FreeSize(
    min_side=16, max_side=128, max_pixels=128**2, stride=4, warm=((32, 32), (64, 64))
)
ONE_SIZE = FixedSize(height=16, width=16)
CLASSES = ("dark", "light")
WORDS = ("a", "black", "blue", "cat", "face", "heart", "moon", "red", "star")
COLOURS = np.random.default_rng(5).standard_normal((2 + len(WORDS), 3)).astype(np.float32)
"""Of padding, of what is not known, and of each word."""
TOKENIZER = "tokenizer.json"
PLANE = (3, "height", "width")
SOURCE = Image(name="source", channels=3)
STARTS: dict[Task, Graph] = {
    "translate": Graph(
        inputs=(
            SOURCE,
            Scalar(name="strength", low=0, high=1, default=0.5),
            Label(name="label", classes=CLASSES),
            Latent(name="style", shape=(3,)),
            Noise(name="grain", shape=PLANE),
        ),
        outputs=(ImageOutput(name="image", channels=3),),
        onnx="translate.onnx",
    ),
    "encode": Graph(
        inputs=(SOURCE,), outputs=(VectorOutput(name="style", shape=(3,)),), onnx="encode.onnx"
    ),
    "score": Graph(inputs=(SOURCE,), outputs=(ScoreOutput(name="score"),), onnx="score.onnx"),
}
"""Of what starts from a picture."""
SAYS: dict[Task, Graph] = {
    "generate": Graph(
        inputs=(Latent(name="z", shape=PLANE), Text(name="text", tokenizer=TOKENIZER, length=4)),
        outputs=(ImageOutput(name="image", channels=3),),
        onnx="generate.onnx",
    )
}
"""Of what reads a text."""


def model(task: Task, graph: Graph, gain: float) -> onnx.ModelProto:
    """The graph of a task as ONNX."""
    constants = _constants(gain)
    nodes = _NODES[task]
    used = {name for node in nodes for name in node.input}
    made = helper.make_model(
        helper.make_graph(
            nodes,
            task,
            [_value(entry) for entry in graph.inputs],
            [_value(entry) for entry in graph.outputs],
            [
                numpy_helper.from_array(constants[name], name)
                for name in sorted(used & {*constants})
            ],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(made)
    return made


def tokenizer() -> bytes:
    """A word for each run of letters, in lower case; 0 is padding."""
    known = {word: number for number, word in enumerate(("[PAD]", "[UNK]", *WORDS))}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": known, "unk_token": "[UNK]"},
        }
    ).encode()


def _constants(gain: float) -> dict[str, NDArray[Any]]:
    return {
        "column": np.array([-1, 1, 1, 1], np.int64),
        "planes": np.array([-1, 3, 1, 1], np.int64),
        "lights": np.linspace(0, 1, len(CLASSES), dtype=np.float32),
        "colours": COLOURS,
        "one": np.array(1, np.float32),
        "gain": np.array(gain, np.float32),
        "half": np.array(127.5, np.float32),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
    }


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


def _mean(axes: list[int], told: str) -> onnx.NodeProto:
    return helper.make_node("ReduceMean", ["source"], [told], axes=axes, keepdims=0)


_node = helper.make_node
_NODES: dict[Task, list[onnx.NodeProto]] = {
    "translate": [
        _node("Mul", ["strength", "gain"], ["pull"]),
        _node("Sub", ["one", "pull"], ["factor"]),
        _node("Reshape", ["factor", "column"], ["factors"]),
        _node("Mul", ["source", "factors"], ["pulled"]),
        _node("Reshape", ["style", "planes"], ["laid"]),
        _node("Add", ["pulled", "laid"], ["styled"]),
        _node("Gather", ["lights", "label"], ["light"]),
        _node("Reshape", ["light", "column"], ["lit"]),
        _node("Add", ["styled", "lit"], ["bright"]),
        _node("Add", ["bright", "grain"], ["grained"]),
        *_to_bytes("grained"),
    ],
    "encode": [_mean([2, 3], "style")],
    "score": [_mean([1, 2, 3], "score")],
    "generate": [
        _node("Gather", ["colours", "text"], ["said"]),
        _node("ReduceMean", ["said"], ["meant"], axes=[1], keepdims=0),
        _node("Reshape", ["meant", "planes"], ["laid"]),
        _node("Add", ["z", "laid"], ["coloured"]),
        _node("Tanh", ["coloured"], ["turned"]),
        *_to_bytes("turned"),
    ],
}


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
        case Text():
            kind, shape = TensorProto.INT64, [entry.length]
        case ImageOutput():
            kind, shape = TensorProto.UINT8, ["height", "width", entry.channels]
    return helper.make_tensor_value_info(entry.name, kind, ["batch", *shape])
