"""The segmenter: its shapes, its skips, and what it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.metrics.fcn import FCN, FCNSettings, train_fcn
from training.metrics.segmentation import confusion, segmentation

SIDE = 16
SETTINGS = FCNSettings(epochs=5, batch_size=8, width=8)


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Plain and striped squares on a ground: no pixel alone tells what it is of."""
    random = np.random.default_rng(seed)
    maps = np.zeros((count, SIDE, SIDE), np.int64)
    for canvas in maps:
        top, left = random.integers(0, SIDE - 8, 2)
        canvas[top : top + 8, left : left + 8] = random.integers(1, 3)
    noise = random.normal(0, 10, (count, SIDE, SIDE))
    stripes = np.arange(SIDE)[:, None] % 2
    light = np.choose(maps, [60, 180, 60 + 120 * stripes])
    images = np.clip(light + noise, 0, 255).astype(np.uint8)
    return images[..., None], maps


@pytest.mark.parametrize(("side", "halvings"), [(16, 3), (32, 3), (64, 3), (128, 4), (256, 5)])
def test_smaller_pictures_are_halved_less_often(side: int, halvings: int) -> None:
    network = FCN(side, 3, 5, width=2)
    assert len(network.stages) == halvings
    assert network(torch.zeros(2, 3, side, side)).shape == (2, 5, side, side)


def test_a_side_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="60 px"):
        FCN(60, 3, 5)


def test_all_three_scores_are_in_the_answer() -> None:
    network = FCN(SIDE, 1, 3, width=4).eval()
    x = torch.randn(1, 1, SIDE, SIDE)
    whole = network(x)
    for score in network.scores:
        assert isinstance(score, nn.Conv2d)
        weight = score.weight.detach().clone()
        with torch.no_grad():
            score.weight.zero_()
        assert not torch.allclose(network(x), whole)
        with torch.no_grad():
            score.weight.copy_(weight)
    assert torch.equal(network(x), whole)


def test_doubling_starts_as_bilinear() -> None:
    doubling = FCN(SIDE, 1, 3).doublings[0]
    x = torch.randn(1, 3, 4, 4)
    bilinear = nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    assert torch.allclose(doubling(x)[..., 1:-1, 1:-1], bilinear[..., 1:-1, 1:-1], atol=1e-6)


def test_it_learns_what_is_where_and_is_kept(tmp_path: Path) -> None:
    images, maps = scenes(96, 0)
    network = train_fcn(images, maps, 3, SETTINGS, cache=tmp_path)
    held_out, truth = scenes(32, 1)
    found = segmentation(confusion(truth, network.look(held_out), 3))
    assert found.pixel_accuracy > 0.9
    assert found.class_iou > 0.6  # the ground alone would be 0.25
    steps: list[int] = []
    again = train_fcn(
        images, maps, 3, SETTINGS, cache=tmp_path, progress=lambda _, done, __: steps.append(done)
    )
    assert steps == []
    assert np.array_equal(again.look(held_out), network.look(held_out))


def test_a_seed_is_a_segmenter_and_the_callers_randomness_is_left_alone() -> None:
    images, maps = scenes(16, 0)
    settings = FCNSettings(epochs=1, batch_size=8, width=4)
    before = torch.get_rng_state()
    one, other = (train_fcn(images, maps, 3, settings) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)


def test_too_few_pictures_are_refused() -> None:
    images, maps = scenes(4, 0)
    with pytest.raises(ValueError, match="16 pictures or more"):
        train_fcn(images, maps, 3)
