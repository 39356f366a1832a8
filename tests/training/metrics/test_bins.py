"""NDB and JSD: the tests behind them, and what is published of them."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from training import data
from training.metrics.bins import Bins, bin_score, different_bins, make_bins
from training.metrics.diversity import pairwise_distance


def test_shares_are_compared_by_a_two_proportion_z_test() -> None:
    one, other = np.array([50, 30, 20]), np.array([35, 33, 32])
    pooled = (one + other) / 200
    z = (one / 100 - other / 100) / np.sqrt(pooled * (1 - pooled) * (2 / 100))
    p_values = [2 * NormalDist().cdf(-abs(one)) for one in z]
    assert p_values == pytest.approx([0.0319, 0.6479, 0.0531], abs=1e-4)
    assert different_bins(one, other) == 1
    assert different_bins(10 * one, 10 * other) == 2
    assert different_bins(one, other, limit=3) == 0


def test_points_go_to_the_nearest_bin_and_apart_is_log_2() -> None:
    bins = Bins(np.array([[0.0], [10.0]]), np.array([60, 40]))
    same = bin_score(bins, np.array([[-1.0]] * 6 + [[9.0]] * 4))
    assert same.different == 0
    assert same.jsd == pytest.approx(0, abs=1e-12)
    half = bin_score(Bins(bins.centres, np.array([100, 0])), np.full((100, 1), 10.0))
    assert half.different == 2
    assert half.jsd == pytest.approx(math.log(2))


def test_every_reference_point_is_in_a_bin() -> None:
    points = np.random.default_rng(0).standard_normal((300, 2))
    bins = make_bins(points, 10)
    assert bins.counts.sum() == 300
    assert bin_score(bins, points).different == 0
    with pytest.raises(ValueError, match="301 bins need as many points"):
        make_bins(points, 301)


def test_a_missing_digit_is_seen() -> None:
    # The published demo, on the digits that are here; tests/acceptance has it on all of MNIST.
    digits = data.load("mnist-5k")
    assert digits.labels is not None
    pixels = digits.images.reshape(len(digits), -1).astype(np.float32) / 255
    order = np.random.default_rng(0).permutation(len(pixels))
    known, held_out = order[:3000], order[3000:]
    bins = make_bins(pixels[known], 50)
    like = bin_score(bins, pixels[held_out])
    without = bin_score(bins, pixels[held_out][digits.labels[held_out] < 9])
    assert like.different <= 6
    assert without.different > like.different
    assert without.jsd > 1.5 * like.jsd


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    line = np.array([[0.0], [1.0], [5.0], [9.0]])
    assert pairwise_distance(line) == pytest.approx((1 + 5 + 9 + 4 + 8 + 4) / 6)
    assert pairwise_distance(line, np.array([0, 0, 1, 1])) == pytest.approx((1 + 4) / 2)
    assert pairwise_distance(np.full((5, 3), 1e4)) == 0
    with pytest.raises(ValueError, match="two pictures of one group"):
        pairwise_distance(line[:2], np.array([0, 1]))
