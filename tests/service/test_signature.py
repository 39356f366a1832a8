"""Graphs that are not what their manifest says are refused before they serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from export.bundle import Bundle
from export.manifest import FixedSize, FreeSize, Graph, ImageOutput, Latent, ScoreOutput, Size
from service.session import OrtSession
from service.signature import GraphMismatch
from tests.tiny import tiny_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models"), channels=3, size=16)


def changed(graph: Graph, **fields: Any) -> Graph:  # noqa: ANN401
    return graph.model_copy(update=fields)


def mismatches(graph: Graph) -> list[tuple[str, Graph, Size]]:
    size = FixedSize(height=16, width=16)
    z, label, truncation = graph.inputs
    [image] = graph.outputs
    return [
        ("inputs", changed(graph, inputs=(z, label)), size),
        ("'noise'", changed(graph, inputs=(*graph.inputs, Latent(name="noise", shape=(1,)))), size),
        ("outputs", changed(graph, outputs=(image, ScoreOutput(name="score"))), size),
        ("'z'", changed(graph, inputs=(Latent(name="z", shape=(7,)), label, truncation)), size),
        ("'z'", changed(graph, inputs=(Latent(name="z", shape=(8, 1)), label, truncation)), size),
        ("int64", changed(graph, inputs=(z, Latent(name="label", shape=()), truncation)), size),
        ("uint8", changed(graph, outputs=(ScoreOutput(name="image"),)), size),
        ("'image'", changed(graph, outputs=(ImageOutput(name="image", channels=1),)), size),
        ("'image'", graph, FixedSize(height=16, width=8)),
        ("free", graph, FreeSize(min_side=8, max_side=32, max_pixels=1024, warm=((16, 16),))),
    ]


@pytest.mark.parametrize("index", range(10))
def test_a_graph_that_is_not_the_manifests_is_refused(tiny: Bundle, index: int) -> None:
    words, graph, size = mismatches(tiny.manifest.graph("generate"))[index]
    with pytest.raises(GraphMismatch, match=words) as refusal:
        OrtSession(graph, tiny.file(graph.onnx), size, provider="cpu", bucket_rows=(1,))
    assert "export again" in str(refusal.value)


def test_a_graph_with_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Identity", ["z"], ["score"])]
    z, score = value("z", TensorProto.FLOAT, [1]), value("score", TensorProto.FLOAT, [1])
    onnx.save(
        helper.make_model(
            helper.make_graph(nodes, "fixed", [z], [score]),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        ),
        tmp_path / "fixed.onnx",
    )
    graph = Graph(
        inputs=(Latent(name="z", shape=()),),
        outputs=(ScoreOutput(name="score"),),
        onnx="fixed.onnx",
    )
    size = FixedSize(height=8, width=8)
    with pytest.raises(GraphMismatch, match=r"\[1\].*'batch'"):
        OrtSession(graph, tmp_path / "fixed.onnx", size, provider="cpu", bucket_rows=(1,))


def test_a_file_that_is_no_graph_is_refused(tiny: Bundle, tmp_path: Path) -> None:
    graph = tiny.manifest.graph("generate")
    (tmp_path / "no.onnx").write_bytes(b"not a graph")
    with pytest.raises(GraphMismatch, match=r"no\.onnx is not a graph"):
        OrtSession(
            graph, tmp_path / "no.onnx", tiny.manifest.size, provider="cpu", bucket_rows=(1,)
        )
