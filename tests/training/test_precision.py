"""Precision is measured once, without a trace, and bfloat16 must be worth it."""

from __future__ import annotations

import pytest
import torch

from tests.training.test_trainer import batches
from tests.training.tiny import tiny_recipe
from training.precision import resolve, time_iteration


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_asked_for_is_not_measured(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("training.precision.time_iteration")
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
    monkeypatch.setattr(
        "training.precision.time_iteration", lambda recipe, batches, choice: seconds[choice]
    )
    assert resolve("auto", tiny_recipe("gan"), batches()) == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_measuring_leaves_no_trace(precision: str) -> None:
    recipe = tiny_recipe("dcgan", r1=1.0)
    before = {name: value.clone() for name, value in recipe.state_dict().items()}
    learning = [p.requires_grad for p in recipe.parameters()]
    random = torch.get_rng_state()
    assert time_iteration(recipe, batches(), precision, runs=2) > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in recipe.state_dict().items())
    assert [p.requires_grad for p in recipe.parameters()] == learning
    assert all(p.grad is None for p in recipe.parameters())


def test_the_median_of_the_runs_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([100.0, 1.0, 5.0, 3.0, 2.0, 90.0])  # the first is a warm-up
    monkeypatch.setattr("training.precision._iterate", lambda *_: next(seconds))
    assert time_iteration(tiny_recipe("gan"), batches(), "float32", runs=5) == 3.0
