"""Precision is measured once, without a trace, and bfloat16 must be worth it."""

from __future__ import annotations

import pytest
import torch

from tests.training.test_trainer import batches
from tests.training.tiny import tiny_recipe
from training.data.batches import Batches
from training.precision import resolve, time_iterations
from training.recipe import Recipe


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_asked_for_is_not_measured(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("training.precision.time_iterations")
    recipe = tiny_recipe("gan")
    assert resolve(precision, recipe, batches()) == precision  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("float32_s", "bfloat16_s", "expected"),
    [(2.0, 1.0, "bfloat16"), (1.0, 0.95, "float32"), (1.0, 2.0, "float32")],
)
def test_auto_takes_bfloat16_where_it_is_clearly_faster(
    float32_s: float, bfloat16_s: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"float32": float32_s, "bfloat16": bfloat16_s}
    monkeypatch.setattr("training.precision.time_iterations", lambda recipe, batches: seconds)
    assert resolve("auto", tiny_recipe("gan"), batches()) == expected


def test_measuring_leaves_no_trace() -> None:
    recipe = tiny_recipe("dcgan", r1=1.0)
    before = {name: value.clone() for name, value in recipe.state_dict().items()}
    learning = [p.requires_grad for p in recipe.parameters()]
    random = torch.get_rng_state()
    seconds = time_iterations(recipe, batches(), runs=2)
    assert min(seconds.values()) > 0
    assert seconds.keys() == {"float32", "bfloat16"}
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in recipe.state_dict().items())
    assert [p.requires_grad for p in recipe.parameters()] == learning
    assert all(p.grad is None for p in recipe.parameters())


def test_the_precisions_take_turns_and_the_least_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    seconds = iter([0.1, 0.1, 5.0, 3.0, 9.0, 2.0, 4.0, 90.0])  # the first two are warm-ups

    def iterate(recipe: Recipe, batches: Batches, precision: str) -> float:
        turns.append(precision)
        return next(seconds)

    monkeypatch.setattr("training.precision._iterate", iterate)
    least = time_iterations(tiny_recipe("gan"), batches(), runs=3)
    assert turns == ["float32", "bfloat16"] * 4
    assert least == {"float32": 4.0, "bfloat16": 2.0}
