"""The moving average: its half-life, its buffers, and its batch-norm statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.ema import EMA


def network(value: float) -> nn.Module:
    made = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(value)
    return made


def test_starts_equal_and_apart() -> None:
    learner = network(3)
    ema = EMA(learner, 100)
    assert all((p == 3).all() and not p.requires_grad for p in ema.module.parameters())
    assert not ema.module.training
    with torch.no_grad():
        next(learner.parameters()).fill_(7)
    assert all((p == 3).all() for p in ema.module.parameters())


def test_a_weight_s_share_has_halved_after_the_half_life() -> None:
    ema, now = EMA(network(0), 100), network(1)
    for batch in range(10):
        ema.update(now, 10, 10_000 + 10 * batch)
    assert all(p.mean().item() == pytest.approx(0.5, rel=1e-5) for p in ema.module.parameters())


def test_without_a_half_life_it_is_the_latest_weights() -> None:
    ema = EMA(network(0), 0)
    for images, value in ((8, 0.1), (16, 0.7)):
        ema.update(network(value), 8, images)
        assert all((p == value).all() for p in ema.module.parameters())


@pytest.mark.parametrize("batch_images", [1, 10, 50])
def test_half_life_counts_images_not_steps(batch_images: int) -> None:
    ema, now = EMA(network(0), 100), network(1)
    for _ in range(100 // batch_images):
        ema.update(now, batch_images, 10_000)
    assert next(ema.module.parameters()).mean().item() == pytest.approx(0.5, rel=1e-5)


def test_half_life_is_at_most_a_twentieth_of_the_images_seen() -> None:
    ema = EMA(network(0), 1e9)
    ema.update(network(1), 10, 200)  # the half-life is 10 images
    assert next(ema.module.parameters()).mean().item() == pytest.approx(0.5, rel=1e-5)


def test_a_half_life_of_one_image_is_the_latest_weights() -> None:
    ema, now = EMA(network(0), 1), network(0.7)
    ema.update(now, 128, 100_000)
    for average, value in zip(ema.module.parameters(), now.parameters(), strict=True):
        assert torch.equal(average, value)


def test_buffers_are_copied() -> None:
    learner = network(1)
    learner.train()(torch.randn(16, 2))
    ema = EMA(network(1), 1e6)
    ema.update(learner, 1, 10)
    for kept, value in zip(ema.module.buffers(), learner.buffers(), strict=True):
        assert torch.equal(kept, value)


def test_recalibrated_statistics_are_those_of_the_draws() -> None:
    ema = EMA(nn.Sequential(nn.BatchNorm1d(2)), 100)
    draws = [torch.randn(32, 2) * 3 + k for k in range(5)]
    ema.recalibrate((draw,) for draw in draws)
    norm = ema.module[0]  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, torch.stack([d.mean(0) for d in draws]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([d.var(0) for d in draws]).mean(0))
    assert not norm.training
    assert norm.momentum == 0.1
    assert ema.module(torch.zeros(1, 2)).shape == (1, 2)


def test_recalibrating_changes_no_weight_and_nothing_of_the_learner() -> None:
    learner = network(0.5)
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    ema = EMA(learner, 100)
    ema.recalibrate([(torch.randn(8, 2),)])
    assert all(torch.equal(before[k], v) for k, v in learner.state_dict().items())
    for average, value in zip(ema.module.parameters(), learner.parameters(), strict=True):
        assert torch.equal(average, value)


def test_a_generator_without_batch_norm_needs_no_draws() -> None:
    def draws() -> list[tuple[torch.Tensor, ...]]:
        raise AssertionError("nothing to calibrate")

    EMA(nn.Linear(1, 1), 100).recalibrate(d for k in range(1) for d in draws())
