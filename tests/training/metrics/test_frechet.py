"""The Frechet distance, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.metrics.frechet import Gaussian, frechet_distance, gaussian


def of(mean: list[float], covariance: object) -> Gaussian:
    return Gaussian(np.array(mean), np.array(covariance, np.float64))


def random_covariance(rng: np.random.Generator, size: int, rank: int) -> NDArray[np.float64]:
    root = rng.standard_normal((size, rank))
    return np.array(root @ root.T)


def test_equal_gaussians_have_no_distance() -> None:
    one = of([1.0, -2.0], [[2.0, 0.6], [0.6, 1.0]])
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-12)


def test_one_dimension_is_the_squared_difference_of_mean_and_deviation() -> None:
    # W2 of N(m, s^2) and N(n, t^2): (m - n)^2 + (s - t)^2.
    distance = frechet_distance(of([1.0], [[9.0]]), of([3.0], [[0.25]]))
    assert distance == pytest.approx(2.0**2 + 2.5**2)


def test_commuting_covariances_add_up_axis_by_axis() -> None:
    a, b = of([0, 0, 0], np.diag([1.0, 4.0, 9.0])), of([1, 0, 2], np.diag([4.0, 1.0, 0.0]))
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + (1 + 1 + 9))


def test_a_shared_rotation_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = (random_covariance(rng, 6, 6) for _ in range(2))
    rotation, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    zero = [0.0] * 6
    turned = frechet_distance(
        of(zero, rotation @ a @ rotation.T), of(zero, rotation @ b @ rotation.T)
    )
    assert turned == pytest.approx(frechet_distance(of(zero, a), of(zero, b)))


def test_general_covariances_agree_with_the_formula_in_two_dimensions() -> None:
    # tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) for a 2x2 matrix M with positive eigenvalues.
    rng = np.random.default_rng(1)
    a, b = (random_covariance(rng, 2, 2) for _ in range(2))
    product = a @ b
    overlap = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(a) + np.trace(b) - 2 * overlap
    assert frechet_distance(of([0, 0], a), of([0, 0], b)) == pytest.approx(expected)


def test_singular_covariances_stay_real() -> None:
    rng = np.random.default_rng(2)
    a, b = (random_covariance(rng, 8, 3) for _ in range(2))
    one, other = frechet_distance(of([0] * 8, a), of([0] * 8, b)), of([0] * 8, a)
    assert np.isfinite(one)
    assert one > 0
    assert frechet_distance(other, other) == pytest.approx(0, abs=1e-6)


def test_it_is_symmetric() -> None:
    rng = np.random.default_rng(3)
    a = gaussian(rng.standard_normal((50, 5)))
    b = gaussian(rng.standard_normal((70, 5)) * 2 + 1)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_samples_approach_the_distance_of_their_distributions() -> None:
    rng = np.random.default_rng(4)
    a = gaussian(rng.standard_normal((40_000, 2)))
    b = gaussian(rng.standard_normal((40_000, 2)) * 3 + np.array([1.0, 0.0]))
    assert frechet_distance(a, b) == pytest.approx(1 + 2 * 2**2, rel=0.02)


def test_moments_are_those_of_numpy() -> None:
    features = np.random.default_rng(5).standard_normal((20, 4)).astype(np.float32)
    found = gaussian(features)
    assert found.covariance.dtype == np.float64
    np.testing.assert_allclose(found.mean, features.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(features.T), atol=1e-6)


def test_one_feature_is_a_column() -> None:
    assert gaussian(np.array([[1.0], [3.0]])).covariance.tolist() == [[2.0]]


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (5,)])
def test_too_few_features_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="N >= 2"):
        gaussian(np.zeros(shape))
