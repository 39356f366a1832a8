"""The scores of a translator: against known pictures, and beside what costs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench import pairs
from bench.pairs import Truth, baselines, held_out, l1, measure, translate
from tests.export.test_translators import trained
from training.metrics.features import Extractor


def plain(images: Any) -> Any:  # noqa: ANN401
    """Features that need no weights: the mean of each channel, and the corners."""
    levels = images.astype(np.float32) / 255
    return np.concatenate([levels.mean((1, 2)), levels[:, 0, 0], levels[:, -1, -1]], 1)


@pytest.fixture
def truth(monkeypatch: pytest.MonkeyPatch) -> Truth:
    monkeypatch.setattr(pairs, "lite0", lambda: Extractor("plain", "", plain))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    return Truth(images[..., :1].copy(), images, np.full((16, 16, 3), 127.5))


def test_l1_is_in_levels() -> None:
    truth = np.full((2, 4, 4, 1), 100, np.uint8)
    assert l1(np.full((2, 4, 4, 1), 90.5), truth) == 9.5
    assert l1(truth, truth) == 0


def test_baselines_are_the_mean_of_training_and_the_source(truth: Truth) -> None:
    found = baselines(truth)
    assert (found["mean"] == 127.5).all()
    assert found["mean"].shape == truth.images.shape
    assert (found["input"] == truth.sources).all()


@pytest.mark.parametrize("settings", [{}, {"latent": 4, "dropout_levels": 0}])
def test_pictures_do_not_depend_on_how_they_are_chunked(
    truth: Truth, settings: dict[str, Any]
) -> None:
    run = trained(**settings)
    whole = translate(run, truth.sources, seed=3)
    assert whole.shape == (40, 16, 16, 3)
    tail = translate(run, truth.sources[36:], seed=3 + 36)
    assert np.abs(whole[36:].astype(int) - tail).max() <= 1
    assert not np.array_equal(whole, translate(run, truth.sources, seed=4))


def test_a_run_is_scored_beside_the_better_baseline(truth: Truth) -> None:
    run = trained()
    mean, given, ours = measure([("ours", run)], truth, seed=0)
    assert [row["model"] for row in (mean, given, ours)] == ["mean", "input", "ours"]
    assert min(mean["of the better baseline"], given["of the better baseline"]) <= 1.01
    made = translate(run, truth.sources, 0)
    assert ours["L1"] == pytest.approx(l1(made, truth.images))
    best = min(mean["L1"], given["L1"])
    assert ours["of the better baseline"] == pytest.approx(ours["L1"] / best, rel=0.01)
    assert ours["draws differ"] > 0


def test_the_truth_itself_has_no_distance(truth: Truth) -> None:
    features = Extractor("plain", "", plain)
    row = pairs.score(truth.images, truth, features, features(truth.images))
    black = np.zeros_like(truth.images)
    assert row["L1"] == 0
    assert row["KD-lite0"] < 0.01
    other = pairs.score(black, truth, features, features(truth.images))
    assert other["KD-lite0"] > 10 * abs(row["KD-lite0"])


def test_a_sheet_shows_source_output_and_truth(truth: Truth) -> None:
    run = trained()
    shown = held_out(run, truth, seed=0)
    assert len(shown) == 3 * pairs.SHEET_PAIRS
    assert (shown[0] == truth.sources[0]).all()
    assert (shown[2] == truth.images[0]).all()
    assert (shown[-1] == truth.images[-1]).all()
