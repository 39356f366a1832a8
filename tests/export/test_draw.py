"""The draws: golden values, independence of inputs and seeds, distributions."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from export.draw import SEED_LIMIT, Array, draw, image_seed, slerp, stream
from export.manifest import Latent, Noise

Z = Latent(name="z", shape=(4,))
UNIFORM = Latent(name="z", shape=(4,), distribution="uniform")
NOISE = Noise(name="noise_0", shape=(2, "width//2"))
MASK = Noise(name="mask", shape=(8,), distribution="bernoulli", keep=0.75)


@pytest.mark.parametrize(
    ("entry", "golden"),
    [
        pytest.param(
            Z,
            [
                [0.9717515707015991, -0.16960600018501282, -2.0538015365600586, 1.4136874675750732],
                [1.435263991355896, -1.7630385160446167, -1.179893136024475, -1.0681464672088623],
                [0.5740286707878113, 1.1379555463790894, -1.3299610614776611, 0.7203579545021057],
            ],
            id="normal",
        ),
        pytest.param(
            UNIFORM,
            [
                [0.5775308609008789, -0.7912052869796753, 0.47177326679229736, 0.9801926612854004],
                [-0.05195450782775879, 0.6682115793228149, 0.9154256582260132, 0.7438207864761353],
                [0.7020869255065918, 0.7780578136444092, 0.7478755712509155, -0.1855449676513672],
            ],
            id="uniform",
        ),
        pytest.param(
            NOISE,
            [
                [
                    [0.4805549085140228, -0.5908253192901611],
                    [0.8353403210639954, -0.03381310775876045],
                ],
                [[0.19497050344944, -0.5298146605491638], [-1.1323127746582031, 1.590229868888855]],
                [
                    [1.4497443437576294, -1.636462688446045],
                    [0.3089904189109802, 0.2915426790714264],
                ],
            ],
            id="noise",
        ),
        pytest.param(
            MASK,
            [[1, 0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 0, 1, 0, 1, 1], [1, 0, 0, 0, 1, 0, 1, 1]],
            id="bernoulli",
        ),
    ],
)
def test_golden_values(entry: Latent | Noise, golden: object) -> None:
    """Of seeds 0, 7 and 2**53 - 1. If these change, every picture ever served changes."""
    drawn = draw(entry, [0, 7, SEED_LIMIT - 1], 4, 4)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn, np.array(golden, np.float32))


def test_golden_digest_of_many() -> None:
    rows = draw(Latent(name="z", shape=(512,), distribution="uniform"), range(1000), 1, 1)
    assert hashlib.sha256(rows.tobytes()).hexdigest() == (
        "5abe72da1654c6bbd5c58fabf33928b748ff60c67e550210433a4e77b8f83249"
    )


@pytest.mark.parametrize("entry", [Z, UNIFORM, NOISE, MASK])
def test_row_does_not_depend_on_the_others(entry: Latent | Noise) -> None:
    together = draw(entry, [3, 1, 2, 1], 8, 8)
    for row, seed in zip(together, [3, 1, 2, 1], strict=True):
        np.testing.assert_array_equal(row, draw(entry, [seed], 8, 8)[0])


def test_inputs_have_streams_of_their_own() -> None:
    other = Latent(name="w", shape=(4,))
    assert not np.any(draw(Z, [0], 1, 1) == draw(other, [0], 1, 1))


def test_longer_row_starts_as_the_shorter() -> None:
    longer = draw(Latent(name="z", shape=(9,)), [5], 1, 1)
    np.testing.assert_array_equal(longer[:, :4], draw(Z, [5], 1, 1))


def test_shape_follows_the_size() -> None:
    assert draw(NOISE, [0, 1], 8, 10).shape == (2, 2, 5)


def test_no_seeds_no_rows() -> None:
    assert draw(Z, [], 1, 1).shape == (0, 4)


def test_distributions() -> None:
    many = 100_000
    normal = draw(Latent(name="z", shape=(many,)), [1], 1, 1)
    uniform = draw(Latent(name="z", shape=(many,), distribution="uniform"), [1], 1, 1)
    mask = draw(Noise(name="m", shape=(many,), distribution="bernoulli", keep=0.9), [1], 1, 1)
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert uniform.min() >= -1
    assert uniform.max() < 1
    assert abs(uniform.mean()) < 0.02
    assert set(np.unique(mask)) == {0, 1}
    assert abs(mask.mean() - 0.9) < 0.01


def test_image_seed_counts_up_and_wraps() -> None:
    assert image_seed(7, 0) == 7
    assert image_seed(7, 3) == 10
    assert image_seed(SEED_LIMIT - 1, 1) == 0


def test_stream_is_the_seeds_and_the_names() -> None:
    assert stream(1, "z").random() == stream(1, "z").random()
    assert len({stream(seed, name).random() for seed in (1, 2) for name in ("z", "y")}) == 4


def vectors(*rows: list[float]) -> list[Array]:
    return [np.array(row, np.float32) for row in rows]


def test_slerp_of_a_right_angle() -> None:
    start, end = vectors([1, 0], [0, 1])
    middle = slerp(start, end, 3)[1]
    np.testing.assert_allclose(middle, [np.sqrt(0.5)] * 2, rtol=1e-6)


def test_slerp_keeps_the_norm_and_the_ends() -> None:
    start, end = draw(Latent(name="z", shape=(64,)), [0, 1], 1, 1)
    end *= np.linalg.norm(start) / np.linalg.norm(end)
    path = slerp(start, end, 7)
    np.testing.assert_array_equal(path[0], start)
    np.testing.assert_array_equal(path[-1], end)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), np.linalg.norm(start), rtol=1e-5)


@pytest.mark.parametrize("end", [[2.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
def test_slerp_of_parallel_vectors_is_the_straight_line(end: list[float]) -> None:
    start, stop = vectors([1, 0], end)
    path = slerp(start, stop, 5)
    np.testing.assert_allclose(path, np.linspace(start, stop, 5), atol=1e-6)


def test_slerp_keeps_the_shape() -> None:
    start, end = draw(NOISE, [0, 1], 4, 4)
    assert slerp(start, end, 4).shape == (4, 2, 2)
