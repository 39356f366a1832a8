"""Modes against counts by hand, and against what a perfect sampler must give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.lab.mixtures import Draws, Mixture, grid, ring
from training.metrics.judge import Images, Opinion
from training.metrics.modes import modes_of_labels, modes_of_points, reverse_kl, stacked_labels


def test_modes_by_hand() -> None:
    centres = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    points = np.array([[0.02, 0], [0.98, 0], [0.6, 0], [1, 0.02]])  # the third is far from all
    found = modes_of_points(points, centres, 0.01)
    assert found.found == 2
    assert found.high_quality == 0.75
    shares = (0.25, 0.75)
    assert found.reverse_kl == pytest.approx(sum(s * math.log(4 * s) for s in shares))


def test_a_mode_needs_a_sample_of_high_quality() -> None:
    far = modes_of_points(np.array([[0.1, 0.0]]), np.array([[0.0, 0]]), 0.01)
    assert far.found == 0
    assert far.high_quality == 0


def test_collapse_onto_one_mode_costs_log_k() -> None:
    assert modes_of_labels(np.full(50, 3), 10).reverse_kl == pytest.approx(math.log(10))
    assert reverse_kl(np.array([5, 5, 5])) == pytest.approx(0)


@pytest.mark.parametrize("mixture", [ring(), grid()], ids=["ring", "grid"])
def test_a_perfect_sampler_reaches_what_theory_says(mixture: Mixture) -> None:
    count, modes = 20_000, len(mixture.centres)
    points = mixture.sample(count, np.random.default_rng(0))
    found = modes_of_points(points, mixture.centres, mixture.sigma)
    assert found.found == modes
    assert found.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.003)
    assert found.reverse_kl == pytest.approx((modes - 1) / (2 * count), rel=0.8)


def test_a_perfect_sampler_of_1000_modes_is_the_published_floor() -> None:
    found = modes_of_labels(np.random.default_rng(0).integers(0, 1_000, 26_000), 1_000)
    assert found.found == 1_000
    assert found.reverse_kl == pytest.approx(999 / 52_000, rel=0.15)


def test_three_digits_are_read_as_one_number() -> None:
    class Reads:
        """A judge that takes the brightness for the digit."""

        def look(self, images: Images) -> Opinion:
            logits = np.eye(10, dtype=np.float32)[images[:, 0, 0, 0]]
            return Opinion(logits, logits)

    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[0] += np.array([1, 2, 3], np.uint8)
    images[1] += np.array([0, 9, 7], np.uint8)
    assert stacked_labels(Reads(), images).tolist() == [123, 97]  # type: ignore[arg-type]


def test_a_batch_of_points_depends_on_seed_and_number_alone() -> None:
    draws = Draws(ring(), 16, 1, torch.device("cpu"))
    first = draws.batch(3).x
    draws.batch(0)
    assert torch.equal(first, draws.batch(3).x)
    assert not torch.equal(first, draws.batch(4).x)
    assert not torch.equal(first, Draws(ring(), 16, 2, torch.device("cpu")).batch(3).x)
