"""The FCN-score of pictures, its void, and what stands beside it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import fcn
from bench.command import BenchError
from bench.fcn import Segmenter, learn, rows, table, translated
from training.data.dataset import Dataset
from training.data.street_scenes import PALETTE
from training.metrics.fcn import FCNSettings

SIDE = 16
SETTINGS = FCNSettings(epochs=4, batch_size=8, width=8)


def halves(count: int, seed: int) -> Dataset:
    """Dark and bright halves, at a border that is drawn."""
    random = np.random.default_rng(seed)
    borders = random.integers(4, SIDE - 4, count)
    maps = (np.arange(SIDE)[None, :] >= borders[:, None])[:, None, :].repeat(SIDE, 1).astype(int)
    light = 60 + 120 * maps + random.normal(0, 8, maps.shape)
    return Dataset(
        name="halves",
        licence="CC0-1.0",
        attribution="",
        classes=(),
        images=light.astype(np.uint8)[..., None],
        labels=None,
        fingerprint="",
        sources=PALETTE[maps],
    )


@pytest.fixture(scope="module")
def test_split() -> Dataset:
    return halves(16, 1)


@pytest.fixture(scope="module")
def segmenter(test_split: Dataset) -> Segmenter:
    return learn(halves(64, 0), test_split, SETTINGS)


def test_the_truth_scores_as_the_ground_truth_row(
    segmenter: Segmenter, test_split: Dataset
) -> None:
    assert segmenter.truth.pixel_accuracy > 0.9
    assert segmenter.score(test_split.images) == segmenter.truth
    assert segmenter.blind_score(test_split.images).pixel_accuracy < 0.9


def test_pictures_that_say_nothing_score_less(segmenter: Segmenter, test_split: Dataset) -> None:
    grey = np.full_like(test_split.images, 120)
    assert segmenter.score(grey).pixel_accuracy < segmenter.truth.pixel_accuracy - 0.1
    made = list(rows(segmenter, grey, test_split.images))
    assert next(row["pictures"] for row in made) == "ground truth"
    assert table("title", made).row_count == 3


def test_a_weak_segmenter_makes_the_score_void(
    segmenter: Segmenter, test_split: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fcn.LEAST_PIXEL_ACCURACY == 0.85
    monkeypatch.setattr(fcn, "LEAST_PIXEL_ACCURACY", segmenter.truth.pixel_accuracy + 1e-9)
    with pytest.raises(BenchError, match="void"):
        learn(halves(64, 0), test_split, SETTINGS)


def test_what_is_no_labelled_pair_is_refused(test_split: Dataset) -> None:
    with pytest.raises(BenchError, match="has no pairs"):
        learn(replace(test_split, sources=None), test_split)
    noise = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, 3), np.uint8)
    with pytest.raises(BenchError, match="no maps of classes"):
        learn(replace(test_split, sources=noise), test_split)


class Dimmer(nn.Module):
    """Half of the source's light, in the places that a mask keeps."""

    def forward(self, source: Tensor, mask: Tensor) -> Tensor:
        return source * mask / 2


def test_translations_are_those_of_their_seed(test_split: Dataset) -> None:
    def inputs(batch: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        return batch.source, torch.empty(len(batch.source), 1, SIDE, SIDE).bernoulli_(0.5)

    recipe, sources = cast(Any, SimpleNamespace(inputs=inputs)), test_split.sources
    assert sources is not None
    one, again, other = (translated(recipe, Dimmer(), sources, seed) for seed in (0, 0, 1))
    assert one.dtype == np.uint8
    assert one.shape == sources.shape
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    halved = np.round(127.5 + (sources.astype(float) - 127.5) / 2)
    grey = one == 128
    assert 0.4 < grey.mean() < 0.8  # some colours are grey halfway themselves
    assert (grey | (abs(one - halved) <= 1)).all()
