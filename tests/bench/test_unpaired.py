"""The scores of an unpaired translator: both directions, beside what costs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench import unpaired
from bench.command import BenchError
from bench.lines import DOMAINS
from bench.unpaired import (
    Direction,
    directions,
    diversity,
    drawn_styles,
    measure,
    shown,
    told_styles,
    translate,
)
from tests.export.test_unpaired import trained
from training.data.dataset import Dataset
from training.metrics.features import Extractor

BOTH = ("drawn", "flat")


def plain(images: Any) -> Any:  # noqa: ANN401
    """Features that need no weights: the mean of each channel, and the corners."""
    levels = images.astype(np.float32) / 255
    return np.concatenate([levels.mean((1, 2)), levels[:, 0, 0], levels[:, -1, -1]], 1)


EYES = Extractor("plain", "", plain)


def data(count: int, seed: int) -> Dataset:
    """Dark pictures beside bright ones."""
    random = np.random.default_rng(seed)
    dark, bright = (
        random.integers(low, low + 60, (count, 16, 16, 3), dtype=np.uint8) for low in (0, 190)
    )
    return Dataset("two", "", "", (), bright, None, "0", sources=dark, domains=BOTH)


@pytest.fixture
def both() -> tuple[Direction, Direction]:
    return directions(data(60, 0), data(24, 1), BOTH)


def test_each_direction_has_its_own_truth(both: tuple[Direction, Direction]) -> None:
    there, back = both
    assert (there.name, there.label) == ("drawn to flat", 1)
    assert (back.name, back.label) == ("flat to drawn", 0)
    assert there.truth.sources.mean() < 60 < 190 < there.truth.images.mean()
    assert np.array_equal(there.truth.sources, back.truth.images)
    assert there.truth.mean.mean() > 190
    assert back.truth.mean.mean() < 60
    assert there.bins.counts.sum() == 60
    assert {f"KD-lite0, {way}" for way in ("openmoji to fluent", "fluent to openmoji")} == {
        line.metric for line in DOMAINS
    }


@pytest.mark.parametrize(("learnt", "asked"), [(39, 8), (40, 7)])
def test_too_few_pictures_are_refused(learnt: int, asked: int) -> None:
    with pytest.raises(BenchError, match=f"{learnt} pictures .* {asked} test pairs: scores need"):
        directions(data(learnt, 0), data(asked, 1), BOTH)


def test_pictures_do_not_depend_on_how_they_are_chunked(
    both: tuple[Direction, Direction], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sources = trained(), both[0].truth.sources
    styles = drawn_styles(run, range(24))
    whole = translate(run, sources, 1, styles)
    monkeypatch.setattr(unpaired, "CHUNK", 7)
    assert np.abs(whole.astype(int) - translate(run, sources, 1, styles)).max() <= 1
    assert not np.array_equal(whole, translate(run, sources, 0, styles))
    assert not np.array_equal(whole, translate(run, sources, 1, styles[::-1].copy()))


def test_a_told_style_is_the_network_s() -> None:
    run, images = trained(), data(4, 2).images
    network: Any = run.recipe.generator
    planes = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255 * 2 - 1)
    expected = network.style(planes)
    np.testing.assert_allclose(told_styles(run, images), expected, atol=1e-5)


def test_a_run_stands_beside_the_truth_and_two_baselines(
    both: tuple[Direction, Direction],
) -> None:
    for direction in both:
        rows = list(measure([("ours", trained())], direction, EYES))
        names = ["truth", "mean", "input", "ours", "ours, the truth's style"]
        assert [row["model"] for row in rows] == names
        truth, mean, given, ours, told = rows
        assert truth["L1"] == 0
        assert abs(truth["KD-lite0"]) < 0.1 * given["KD-lite0"]
        assert mean["L1"] < 40 < 150 < given["L1"]
        assert truth["JSD"] < mean["JSD"]  # one picture for all fills one bin
        assert ours["L1"] > 0
        assert ours["diversity"] > 0
        assert ours["L1"] != told["L1"]


def test_one_picture_for_all_styles_has_no_diversity(
    both: tuple[Direction, Direction], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained()
    assert diversity(run, both[0], EYES) > 1e-3
    monkeypatch.setattr(
        unpaired, "drawn_styles", lambda _, seeds: np.zeros((len(seeds), 3), np.float32)
    )
    assert diversity(run, both[0], EYES) == pytest.approx(0, abs=1e-6)


def test_a_sheet_shows_sources_styles_and_truths(both: tuple[Direction, Direction]) -> None:
    pictures = shown(trained(), both)
    rows = 2 + unpaired.SHEET_STYLES
    assert len(pictures) == 2 * rows * unpaired.SHEET_COLUMNS
    first = pictures.reshape(2, rows, unpaired.SHEET_COLUMNS, 16, 16, 3)
    assert np.array_equal(first[0, 0, 0], both[0].truth.sources[0])
    assert np.array_equal(first[1, -1, -1], both[1].truth.images[-1])
    assert not np.array_equal(first[0, 1], first[0, 2])
