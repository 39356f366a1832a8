"""Precision, recall, density and coverage, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from training.metrics import coverage
from training.metrics.coverage import Neighbourhood, ball_radius, neighbourhood

Points = NDArray[np.float64]


def clouds(real: int = 90, generated: int = 70) -> tuple[Points, Points]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((real, 6)), rng.standard_normal((generated, 6)) * 0.8 + 0.4


def naive(real: Points, generated: Points, k: int) -> Neighbourhood:
    """The definitions word by word, with the neighbours of scikit-learn."""

    def radius(points: Points) -> Points:
        neighbours = NearestNeighbors(n_neighbors=k + 1).fit(points)
        return np.array(neighbours.kneighbors(points)[0][:, k])

    def distance(a: Points, b: Points) -> float:
        return float(np.linalg.norm(a - b))

    real_balls = list(zip(real, radius(real), strict=True))
    generated_balls = list(zip(generated, radius(generated), strict=True))
    inside = [[distance(x, y) <= reach for x, reach in real_balls] for y in generated]
    return Neighbourhood(
        precision=float(np.mean([any(row) for row in inside])),
        recall=float(np.mean([any(distance(x, y) <= r for y, r in generated_balls) for x in real])),
        density=float(np.mean([sum(row) for row in inside])) / k,
        coverage=float(np.mean(np.array(inside).any(axis=0))),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_four_numbers_are_those_of_the_definitions(k: int) -> None:
    real, generated = clouds()
    assert neighbourhood(real, generated, k) == naive(real, generated, k)


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = clouds()
    whole = neighbourhood(real, generated)
    monkeypatch.setattr(coverage, "_CHUNK_BYTES", 8 * 70 * 7)  # rows do not divide evenly
    assert neighbourhood(real, generated) == whole


def test_a_copy_of_the_real_set_has_everything() -> None:
    real, _ = clouds()
    found = neighbourhood(real, real.copy())
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density > 1  # each point also lies in its own ball


def test_distant_points_have_nothing() -> None:
    real, generated = clouds()
    assert neighbourhood(real, generated + 1000) == Neighbourhood(0, 0, 0, 0)


def test_collapse_onto_one_real_point_is_precise_and_covers_little() -> None:
    real, _ = clouds()
    collapsed = real[:1] + np.random.default_rng(1).standard_normal((80, 6)) * 1e-3
    found = neighbourhood(real, collapsed)
    assert found.precision == 1
    assert found.recall < 0.05
    assert found.coverage < 0.2


def test_a_missing_half_shows_in_recall_and_coverage_alone() -> None:
    rng = np.random.default_rng(2)
    left, right = rng.standard_normal((100, 2)), rng.standard_normal((100, 2)) + 50
    found = neighbourhood(np.concatenate([left, right]), rng.standard_normal((200, 2)))
    assert found.precision > 0.9
    assert found.recall < 0.51
    assert found.coverage < 0.51


def test_an_outlier_misleads_precision_more_than_density() -> None:
    # Naeem et al. 2020, figure 1: the ball of a real outlier holds many generated points.
    rng = np.random.default_rng(3)
    real = np.concatenate([rng.standard_normal((100, 2)), [[100.0, 0.0]]])
    found = neighbourhood(real, rng.standard_normal((100, 2)) * 2 + np.array([60.0, 0.0]))
    assert found.precision == 1
    assert found.density == pytest.approx(1 / 5)


def test_the_radius_reaches_to_the_kth_other_point() -> None:
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    np.testing.assert_allclose(ball_radius(points, 1), [1, 1, 4, 16])
    np.testing.assert_allclose(ball_radius(points, 3), [49, 36, 16, 49])


def test_duplicates_are_neighbours_at_distance_zero() -> None:
    points = np.array([[2.0, 1.0]] * 3 + [[5.0, 1.0]])
    np.testing.assert_allclose(ball_radius(points, 2), [0, 0, 0, 9])


def test_distances_survive_a_large_offset() -> None:
    real, generated = clouds()
    assert neighbourhood(real + 1e6, generated + 1e6) == neighbourhood(real, generated)


@pytest.mark.parametrize("k", [0, 4, 9])
def test_too_many_neighbours_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to 3"):
        ball_radius(np.zeros((4, 2)), k)
