"""The first inference of a model: a harmless row for every role, and an answer that is checked."""

from __future__ import annotations

import numpy as np
import pytest

from export.manifest import (
    FixedSize,
    FreeSize,
    Graph,
    Image,
    ImageOutput,
    Index,
    Label,
    Latent,
    Noise,
    Scalar,
    ScoreOutput,
    Text,
    Vector,
)
from service.canary import check_answer, specimen, warm_sizes
from service.rows import Rows
from service.signature import GraphMismatch

FIXED = FixedSize(height=4, width=6)
FREE = FreeSize(min_side=4, max_side=64, max_pixels=4096, warm=((8, 8), (8, 16)))
GRAPH = Graph(
    inputs=(
        Latent(name="z", shape=(3,)),
        Noise(name="map", shape=("height//2", "width")),
        Label(name="label", classes=("a", "b")),
        Text(name="text", tokenizer="tokenizer.json", length=5),
        Image(name="source", channels=3, low=0, high=1),
        Scalar(name="truncation", low=0, high=2, default=0.5),
        Index(name="layers", shape=(2,), high=4, default=1),
        Vector(name="style", shape=(7,)),
    ),
    outputs=(ImageOutput(name="image", channels=1), ScoreOutput(name="score")),
    onnx="graph.onnx",
)


def test_the_specimen_fills_every_role() -> None:
    rows = specimen(GRAPH, 4, 6)
    shapes = {name: (array.dtype.name, array.shape) for name, array in rows.arrays.items()}
    assert shapes == {
        "z": ("float32", (1, 3)),
        "map": ("float32", (1, 2, 6)),
        "label": ("int64", (1,)),
        "text": ("int64", (1, 5)),
        "source": ("float32", (1, 3, 4, 6)),
        "truncation": ("float32", (1,)),
        "layers": ("int64", (1, 2)),
        "style": ("float32", (1, 7)),
    }
    assert rows["truncation"].tolist() == [0.5]
    assert rows["layers"].tolist() == [[1, 1]]
    assert set(rows["source"].ravel()) == {0.5}


def test_the_sizes_to_warm_are_the_one_there_is_or_those_listed() -> None:
    assert warm_sizes(FIXED) == ((4, 6),)
    assert warm_sizes(FREE) == ((8, 8), (8, 16))


def answer(height: int = 4, width: int = 6, score: float = 0.5) -> Rows:
    image = np.zeros((1, height, width, 1), np.uint8)
    return Rows({"image": image, "score": np.array([score], np.float32)})


def test_an_answer_as_promised_passes() -> None:
    check_answer(GRAPH, FIXED, answer())
    check_answer(GRAPH, FREE, answer(8, 8))


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_an_answer_that_is_not_finite_is_refused(score: float) -> None:
    with pytest.raises(GraphMismatch, match="'score' is not finite"):
        check_answer(GRAPH, FIXED, answer(score=score))


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(GraphMismatch, match=r"\(1, 4, 4, 1\).*\(1, 4, 6, 1\)"):
        check_answer(GRAPH, FIXED, answer(4, 4))
