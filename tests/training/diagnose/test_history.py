"""What the ticks say: the last third, and how often the game turns round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.diagnose.history import count_swings, tell_history


def row(k: int, jsd: float, gradient: float = 1.0, loss: float = 1.0) -> dict[str, Any]:
    return {
        "stage": 0,
        "images": 100 * (k + 1),
        "terms": {"d/adversarial": loss},
        "signals": {"jsd": jsd, "accuracy_real": 0.9, "accuracy_fake": 0.8},
        "grad_norm": {"d": 5.0, "g": gradient},
    }


@pytest.mark.parametrize(
    ("values", "swings"),
    [
        ([0.3] * 9, 0),
        ([0.0, 0.1, 0.0, 0.1, 0.0], 0),
        ([0.0, 0.3, 0.6], 1),
        ([0.6, 0.3, 0.0], 1),
        ([0.0, 0.5, 0.0, 0.5, 0.0], 4),
        ([0.0, 0.1, 0.2, 0.3, 0.2, 0.1, 0.0], 2),  # slowly is a swing too
        ([0.0, 0.5, 0.4, 0.5, 0.4, 0.5], 1),
    ],
)
def test_swings_are_counted_where_a_series_turns_far(values: list[float], swings: int) -> None:
    assert count_swings(np.array(values)) == swings


def test_the_last_third_is_what_counts_and_it_must_last() -> None:
    rows = [row(k, 0.1) for k in range(20)] + [row(20 + k, 0.6) for k in range(10)]
    assert tell_history(rows, "g")["jsd"].value == pytest.approx(0.6)
    rows[25:] = [row(25 + k, 0.1) for k in range(5)]
    assert tell_history(rows, "g")["jsd"].value == pytest.approx(0.1)


def test_gradients_and_losses_are_told_beside_what_they_were() -> None:
    rows = [row(k, 0.1, gradient=10.0 if k < 10 else 0.5, loss=1 + 9 * (k > 19)) for k in range(30)]
    told = tell_history(rows, "g")
    assert told["gradient_left"].value == pytest.approx(0.05)
    assert told["loss_growth"].value == pytest.approx(10)
    assert "gradient_left" not in tell_history(rows, None)


def test_too_few_ticks_say_nothing() -> None:
    assert tell_history([row(k, 0.1) for k in range(5)], "g") == {}


def test_only_the_last_stage_is_looked_at() -> None:
    rows = [row(k, 0.6) for k in range(30)] + [row(k, 0.1) | {"stage": 1} for k in range(9)]
    told = tell_history(rows, "g")
    assert told["jsd"].value == pytest.approx(0.1)
    assert told["jsd"].samples == 9


def test_a_system_without_a_discriminator_tells_of_its_losses() -> None:
    rows = [row(k, 0.0) | {"signals": {"psnr_db": 20.0}} for k in range(9)]
    assert tell_history(rows, None).keys() == {"loss_growth"}
