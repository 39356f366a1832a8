"""Tensors and parameters to rows, for every role of an input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export.draw import draw, draw_label
from export.manifest import (
    FixedSize,
    FreeSize,
    Graph,
    ImageOutput,
    Index,
    Input,
    Label,
    Latent,
    Noise,
    Size,
    Text,
    Vector,
)
from service.config import ServiceConfig
from service.errors import InvalidInput, TooLarge
from service.v2.binding import Bound, bind, take
from service.v2.parsing import Sent
from service.v2.schemas import InferRequest
from tests.service.v2.wire import in_json

pytestmark = pytest.mark.anyio

SIZE = FixedSize(height=8, width=8)
Z = Latent(name="z", shape=(4,))
NOISE = Noise(name="noise", shape=(1, "height//2", "width//2"))
LABEL = Label(name="label", classes=("a", "b", "c"))
LAYERS = Index(name="layers", shape=(3,), high=5, default=2)
STYLE = Vector(name="style", shape=(2,))
WORDS = Text(name="words", tokenizer="tokenizer.json", length=4)


async def bound(
    *inputs: Input,
    size: Size = SIZE,
    config: ServiceConfig | None = None,
    **document: Any,  # noqa: ANN401
) -> Bound:
    output = ImageOutput(name="image", channels=1)
    graph = Graph(inputs=inputs, outputs=(output,), onnx="g.onnx")
    sent = Sent(InferRequest.model_validate(document), {})
    config = config or ServiceConfig()
    taken = take(graph, size, sent, config)
    return await bind(taken, size, sent.request.parameters, config)


async def test_what_is_drawn_follows_the_count_of_what_was_sent() -> None:
    z = np.zeros((3, 4), np.float32)
    found = await bound(
        Z, NOISE, LABEL, inputs=[in_json("z", z, "FP32")], parameters={"seed": 2**53 - 1}
    )
    seeds = [2**53 - 1, 0, 1]
    assert found.seed == seeds[0]
    assert list(found.rows.arrays) == ["z", "noise", "label"]
    np.testing.assert_array_equal(found.rows["noise"], draw(NOISE, seeds, 8, 8))
    assert found.rows["label"].tolist() == [draw_label(LABEL, seed) for seed in seeds]


async def test_what_is_not_drawn_is_the_same_in_every_row() -> None:
    z = np.zeros((3, 4), np.float32)
    found = await bound(
        Z, LABEL, LAYERS, STYLE, inputs=[in_json("z", z, "FP32")], parameters={"label": "c"}
    )
    assert found.seed is None
    assert found.rows["label"].tolist() == [2, 2, 2]
    np.testing.assert_array_equal(found.rows["layers"], np.full((3, 3), 2))
    np.testing.assert_array_equal(found.rows["style"], np.zeros((3, 2), np.float32))


async def test_integers_are_held_to_their_range() -> None:
    for value, refused in ((0, False), (4, False), (5, True), (-1, True)):
        layers = in_json("layers", np.full((1, 3), value), "INT64")
        if refused:
            with pytest.raises(InvalidInput, match="each must be in 0 to 4"):
                await bound(Z, LAYERS, inputs=[layers])
        else:
            found = await bound(Z, LAYERS, inputs=[layers])
            assert found.rows["layers"].tolist() == [[value] * 3]


async def test_a_text_comes_as_the_ids_of_its_tokens() -> None:
    words = in_json("words", np.array([[5, 9, 0, 0]]), "INT64")
    found = await bound(Z, WORDS, inputs=[words], parameters={"seed": 1})
    assert found.rows["words"].tolist() == [[5, 9, 0, 0]]
    np.testing.assert_array_equal(found.rows["z"], draw(Z, [1], 8, 8))
    with pytest.raises(InvalidInput, match="'words' is missing"):
        await bound(Z, WORDS, parameters={"seed": 1})
    with pytest.raises(InvalidInput, match="each must be not negative"):
        await bound(WORDS, inputs=[words | {"data": [5, -9, 0, 0]}])


async def test_noise_of_another_size_needs_the_size_in_words() -> None:
    free = FreeSize(min_side=4, max_side=32, max_pixels=1024, stride=4, warm=((8, 8),))
    noise = in_json("noise", np.zeros((2, 1, 6, 8), np.float32), "FP32")
    with pytest.raises(InvalidInput, match=r"has the shape \[2, 1, 6, 8\]: send \[2, 1, 4, 4\]"):
        await bound(Z, NOISE, size=free, inputs=[noise])
    sized = {"height": 12, "width": 16}
    found = await bound(Z, NOISE, size=free, inputs=[noise], parameters=sized)
    assert found.rows["noise"].shape == (2, 1, 6, 8)
    with pytest.raises(InvalidInput, match="give height and width together"):
        await bound(Z, NOISE, size=free, parameters={"height": 12})


async def test_what_is_drawn_counts_as_bytes_before_it_is_drawn() -> None:
    config = ServiceConfig(queue_bytes=1024, max_images=64, queue_images=64)
    z = in_json("z", np.zeros((12, 4), np.float32), "FP32")  # 16 of the 80 bytes of a row
    assert len((await bound(Z, NOISE, config=config, inputs=[z])).rows) == 12
    z = in_json("z", np.zeros((13, 4), np.float32), "FP32")
    with pytest.raises(TooLarge, match="13 rows have 1040 bytes, and at most 1024 may wait"):
        await bound(Z, NOISE, config=config, inputs=[z])
