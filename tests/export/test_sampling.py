"""Seeds, labels and knobs as a person writes them, and the pictures that they give."""

from __future__ import annotations

import numpy as np
import pytest

from export.draw import draw
from export.errors import InvalidChoice
from export.manifest import (
    FixedSize,
    Graph,
    ImageOutput,
    Label,
    Latent,
    Scalar,
    ScoreOutput,
)
from export.rows import Rows
from export.sampling import Generator, choose_labels, choose_scalars, parse_seeds, pictures
from service.inputs import bind
from service.planning import plan
from service.schemas import GenerateRequest

Z = Latent(name="z", shape=(2, 3))
LABEL = Label(name="label", classes=("T-shirt/top", "sneaker", "7"))
KNOB = Scalar(name="truncation", low=0, high=1, default=1)


class Counting:
    """A graph that shows its inputs as pictures, and remembers the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, rows: Rows) -> Rows:
        self.batches.append(len(rows["z"]))
        levels = (rows["z"] * rows["truncation"][:, None, None] * 20 + 100).clip(0, 255)
        return {"image": levels[..., None].astype(np.uint8), "score": rows["z"][:, 0, 0]}


def generator(*inputs: Latent | Label | Scalar) -> Generator:
    outputs = (ScoreOutput(name="score"), ImageOutput(name="image", channels=1))
    return Generator(Counting(), inputs, outputs, 2, 3)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("7", [7]),
        ("0-3", [0, 1, 2, 3]),
        ("7,8", [7, 8]),
        ("5-6, 2,9-9", [5, 6, 2, 9]),
        ("9007199254740991", [2**53 - 1]),
    ],
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text",
    ["", "a", "-1", "1-", "3-1", "1.5", "1,,2", "9007199254740992", "0-4096", "0-4095,1", "1-2-3"],
)
def test_bad_seeds_are_refused(text: str) -> None:
    with pytest.raises(InvalidChoice):
        parse_seeds(text)


def test_large_range_is_refused_before_it_is_made() -> None:
    with pytest.raises(InvalidChoice, match="more than 4096"):
        parse_seeds("0-9007199254740991")


def test_labels_by_name_index_and_case() -> None:
    labels = choose_labels(generator(Z, LABEL), ["sneaker", "0", "t-SHIRT/top"], range(3))
    assert labels == [1, 0, 0]


def test_name_goes_before_index() -> None:
    assert choose_labels(generator(Z, LABEL), ["7"], [0]) == [2]


def test_labels_are_used_in_turn() -> None:
    assert choose_labels(generator(Z, LABEL), ["2", "sneaker"], range(5)) == [2, 1, 2, 1, 2]


def test_label_left_out_is_drawn_from_each_seed() -> None:
    together = choose_labels(generator(Z, LABEL), (), range(50))
    assert set(together) == {0, 1, 2}
    assert [choose_labels(generator(Z, LABEL), (), [seed])[0] for seed in range(50)] == together


def test_label_left_out_is_the_one_that_the_service_draws() -> None:
    outputs = (ImageOutput(name="image", channels=1),)
    graph = Graph(inputs=(Z, LABEL), outputs=outputs, onnx="g.onnx")
    request = GenerateRequest(seed=3, num_images=20)
    answered = bind(plan(graph, FixedSize(height=2, width=3), request, limit=64))
    expected = choose_labels(generator(Z, LABEL), (), range(3, 23))
    assert answered["label"].tolist() == expected


@pytest.mark.parametrize("name", ["sneakers", "3", "-1", ""])
def test_unknown_label_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(InvalidChoice, match="there are T-shirt/top, sneaker, 7"):
        choose_labels(generator(Z, LABEL), [name], [0])


def test_nearest_label_is_suggested() -> None:
    with pytest.raises(InvalidChoice, match="did you mean 'sneaker'"):
        choose_labels(generator(Z, LABEL), ["Sneeker"], [0])


def test_label_for_a_model_without_classes_is_refused() -> None:
    assert choose_labels(generator(Z), (), [0, 1]) == []
    with pytest.raises(InvalidChoice, match="no classes"):
        choose_labels(generator(Z), ["sneaker"], [0])


def test_knobs() -> None:
    assert choose_scalars(generator(Z, KNOB), {}) == {}
    assert choose_scalars(generator(Z, KNOB), {"truncation": 0.5}) == {"truncation": 0.5}


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_knob_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(InvalidChoice, match=r"outside \[0, 1\]"):
        choose_scalars(generator(Z, KNOB), {"truncation": value})


def test_unknown_knob_is_refused() -> None:
    with pytest.raises(InvalidChoice, match="has no truncation"):
        choose_scalars(generator(Z), {"truncation": 1})


def test_pictures_are_those_of_the_draws_in_bounded_batches() -> None:
    source, seeds = generator(Z, KNOB), list(range(100, 170))
    images = pictures(source, seeds)
    expected = (draw(Z, seeds, 2, 3) * 20 + 100).clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(images[..., 0], expected)
    assert isinstance(source.run, Counting)
    assert source.run.batches == [32, 32, 6]


def test_knob_reaches_the_graph() -> None:
    assert np.all(pictures(generator(Z, KNOB), [0, 1], scalars={"truncation": 0.0}) == 100)


def test_graph_without_a_picture_is_refused() -> None:
    scores = Generator(Counting(), (Z, KNOB), (ScoreOutput(name="score"),), 2, 3)
    with pytest.raises(InvalidChoice, match="no picture"):
        pictures(scores, [0])
