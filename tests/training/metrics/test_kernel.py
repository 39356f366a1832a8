"""The kernel distance, against closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from training.metrics.kernel import kernel_distance, squared_discrepancy


def test_the_estimate_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 4)), rng.standard_normal((5, 4)) + 0.5
    # scikit-learn: (gamma x.y + coef0)^degree, with gamma 1 / D by default.
    xx, yy, xy = (polynomial_kernel(a, b, degree=3, coef0=1) for a, b in ((x, x), (y, y), (x, y)))
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (xx, yy)]
    assert squared_discrepancy(x, y) == pytest.approx(sum(within) - 2 * xy.mean())


def test_it_is_known_for_points_of_two_values() -> None:
    # D = 1: k(0, .) = 1, k(2, 2) = 125: all of x is 0 and all of y is 2.
    x, y = np.zeros((4, 1)), np.full((4, 1), 2.0)
    assert squared_discrepancy(x, y) == pytest.approx(1 + 125 - 2)


def test_it_is_unbiased_whatever_the_size() -> None:
    rng = np.random.default_rng(1)
    real, generated = rng.standard_normal((2, 600, 3))
    few = kernel_distance(real, generated, subsets=400, size=10)
    many = kernel_distance(real, generated, subsets=400, size=100)
    assert abs(few.value) < 0.05
    assert abs(many.value) < 0.02
    assert many.spread < few.spread / 3


def test_subsets_come_from_the_seed_and_differ() -> None:
    rng = np.random.default_rng(2)
    real, generated = rng.standard_normal((50, 3)), rng.standard_normal((40, 3)) + 1
    found = kernel_distance(real, generated, subsets=5)
    assert found == kernel_distance(real, generated, subsets=5)
    assert found != kernel_distance(real, generated, subsets=5, seed=1)
    assert found.value > 2 * found.spread > 0
    with pytest.raises(ValueError, match="3 and 40 samples are too few"):
        kernel_distance(real[:3], generated)
