"""What a pair tells of itself once a tick, against what is known of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tiny import tiny_batch, tiny_recipe
from training.signals import adversarial_signals, picture_signals


def spread(count: int = 32, scale: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, 1, 4, 4, generator=generator)


def told(
    real_logits: Tensor, fake_logits: Tensor, boundary: float | None = 0.0
) -> dict[str, float]:
    signals = adversarial_signals(real_logits, fake_logits, spread(), spread(seed=1), boundary)
    return {name: value.item() for name, value in signals.items()}


def test_a_discriminator_that_cannot_tell_shows_no_divergence() -> None:
    signals = told(torch.zeros(8), torch.zeros(8))
    assert signals["jsd"] == pytest.approx(0, abs=1e-7)
    assert signals["d_real"] == signals["d_fake"] == 0.5


def test_a_discriminator_that_tells_all_shows_log_2() -> None:
    signals = told(torch.full((8,), 30.0), torch.full((8,), -30.0))
    assert signals["jsd"] == pytest.approx(math.log(2))
    assert signals["accuracy_real"] == signals["accuracy_fake"] == 1


def test_the_optimal_discriminator_shows_the_divergence_itself() -> None:
    # Two states, p = (3/4, 1/4), q the other way round: D* is log 3, - log 3.
    logit = math.log(3)
    real, fake = torch.tensor([logit] * 3 + [-logit]), torch.tensor([-logit] * 3 + [logit])
    expected = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    signals = told(real, fake)
    assert signals["jsd"] == pytest.approx(expected, rel=1e-5)
    assert signals["accuracy_real"] == signals["accuracy_fake"] == 0.75


def test_a_discriminator_that_is_wrong_shows_nothing_rather_than_less() -> None:
    assert told(torch.full((8,), -5.0), torch.full((8,), 5.0))["jsd"] == 0


def test_where_the_game_only_compares_the_level_of_the_logits_says_nothing() -> None:
    real, fake = torch.randn(8) + 2, torch.randn(8) - 2
    assert told(real + 70, fake + 70, None) == pytest.approx(told(real, fake, None), rel=1e-4)
    assert told(real + 70, fake + 70)["accuracy_fake"] == 0


@pytest.mark.parametrize(
    ("system", "settings"),
    [
        ("gan", {"objective": "least_squares"}),
        ("gan", {"objective": "relativistic"}),
        ("ebgan", {}),
    ],
)
def test_every_game_s_accuracy_is_taken_at_the_level_where_it_cannot_tell(
    system: str, settings: dict[str, Any]
) -> None:
    recipe, batch = tiny_recipe(system, **settings).eval(), tiny_batch()

    def logits(images: Tensor, batch: Any) -> Tensor:  # noqa: ANN401
        surer = torch.full((len(images),), 0.8 if images is batch.x else 0.2)
        return -surer if system == "ebgan" else surer

    recipe.logits = logits  # type: ignore[assignment]
    signals = recipe.signals(batch)
    assert signals["accuracy_real"] == signals["accuracy_fake"] == 1


def test_pictures_like_the_real_ones_are_near_one() -> None:
    signals = picture_signals(spread(256), spread(256, seed=1))
    assert all(value.item() == pytest.approx(1, abs=0.1) for value in signals.values())


def test_one_picture_for_all_latents_has_no_variety() -> None:
    signals = picture_signals(spread(), spread(1).expand(32, -1, -1, -1))
    assert signals["diversity"] == 0
    assert signals["near_fake"] < 1e-3
    assert signals["left_out"] > 1


def test_copies_of_real_pictures_are_at_no_distance() -> None:
    signals = picture_signals(spread(), spread())
    assert signals["near_real"] < 1e-3
    assert signals["diversity"] == pytest.approx(1)


def test_pictures_that_the_batch_holds_twice_are_one() -> None:
    twice = spread(16).repeat(2, 1, 1, 1)
    assert picture_signals(twice, spread(seed=1))["near_real"] == pytest.approx(1, abs=0.15)


def test_a_batch_of_one_picture_many_times_is_finite() -> None:
    same = spread(1).expand(8, -1, -1, -1)
    assert all(value.isfinite() for value in picture_signals(same, spread(8)).values())
