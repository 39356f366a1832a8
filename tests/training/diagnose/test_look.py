"""Pictures whose faults are known, and what is told of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.diagnose.figures import radial_power
from training.diagnose.look import Look, look
from training.diagnose.modes import tell_missing
from training.diagnose.neighbours import nearest, points_of

CLASSES = ("bag", "boot", "coat", "shirt")
Pictures = NDArray[np.uint8]


def stripes(count: int, seed: int, classes: int = 4) -> tuple[Pictures, NDArray[np.int64]]:
    """Noise, of which the class makes a quarter bright."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    pictures = random.integers(0, 64, (count, 8, 8, 1), dtype=np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[:, 2 * label : 2 * label + 2] += 160
    return pictures, labels


@pytest.fixture(scope="module")
def data() -> Dataset:
    pictures, labels = stripes(800, 0)
    return Dataset("stripes", "CC0-1.0", "", CLASSES, pictures, labels, "f" * 64)


def seen(data: Dataset, pictures: Pictures) -> Look:
    return look(data, pictures, 0)


def value(found: Look, name: str) -> float:
    return found.metrics[name].value


def test_pictures_like_the_data_are_like_real_ones_by_every_number(data: Dataset) -> None:
    found = seen(data, stripes(300, 1)[0])
    for name, metric in found.metrics.items():
        assert metric.reference is not None
        if name == "density":  # greater: components fitted to the data's noise hold less of other
            continue
        assert metric.value == pytest.approx(metric.reference, abs=0.2), name
    assert value(found, "missing_share") == 0
    assert value(found, "copies") == 0


def test_classes_that_are_never_made_are_named(data: Dataset) -> None:
    found = seen(data, stripes(300, 1, classes=2)[0])
    assert value(found, "missing_share") == pytest.approx(0.5, abs=0.02)
    told = tell_missing(found.modes)
    assert "coat" in told
    assert "shirt" in told
    assert "bag" not in told
    assert "boot" not in told
    for mode in found.modes:
        assert data.labels is not None
        assert CLASSES[data.labels[mode.example]] == mode.name


def test_without_labels_kinds_have_numbers(data: Dataset) -> None:
    bare = Dataset("stripes", "CC0-1.0", "", (), data.images, None, "f" * 64)
    assert "kind " in tell_missing(seen(bare, stripes(300, 1, classes=2)[0]).modes)


def test_training_pictures_are_copies_and_their_like_is_not(data: Dataset) -> None:
    found = seen(data, data.images[100:400])
    assert value(found, "copies") == 1
    assert value(found, "near_real") == pytest.approx(0, abs=0.01)
    assert (found.nearest.rows == np.arange(100, 400)).all()


def test_a_blurred_mean_is_no_copy(data: Dataset) -> None:
    assert data.labels is not None
    means = [data.images[data.labels == k].mean(axis=0) for k in range(4)]
    blurred = np.stack([means[k % 4] for k in range(200)]).astype(np.uint8)
    found = seen(data, blurred)
    assert value(found, "copies") == 0
    assert value(found, "near_fake") < 0.01


def test_one_picture_for_all_draws_is_near_itself(data: Dataset) -> None:
    found = seen(data, np.repeat(stripes(1, 1)[0], 200, axis=0))
    assert value(found, "near_fake") < 0.01
    assert value(found, "missing_share") > 0.9


def test_a_handful_of_training_pictures_is_enough_to_look(data: Dataset) -> None:
    few = Dataset("few", "CC0-1.0", "", CLASSES, data.images[:6], data.labels, "f" * 64)
    assert value(seen(few, data.images[:6]), "copies") == 1


def test_the_nearest_is_found_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of(stripes(50, 2)[0])
    whole = nearest(points, points, np.arange(50))
    monkeypatch.setattr("training.diagnose.neighbours.CHUNK", 7)
    parts = nearest(points, points, np.arange(50))
    np.testing.assert_allclose(parts.distance, whole.distance, rtol=1e-5)
    assert (parts.rows == whole.rows).all()
    assert (whole.rows != np.arange(50)).all()


def test_large_pictures_are_compared_small() -> None:
    pictures = np.full((3, 80, 80, 3), 51, np.uint8)
    points = points_of(pictures)
    assert points.shape == (3, 3 * 32 * 32)
    np.testing.assert_allclose(points, -0.6, atol=1e-6)


def test_white_noise_has_the_same_power_at_every_frequency() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (400, 16, 16, 1), dtype=np.uint8)
    frequency, power = radial_power(noise)
    assert frequency[0] == pytest.approx(1 / 16)
    assert frequency[-1] == pytest.approx(0.5)
    np.testing.assert_allclose(power, (256**2 - 1) / 12 / 127.5**2, rtol=0.1)


def test_a_wave_has_its_power_at_its_frequency() -> None:
    wave = np.sin(2 * np.pi * 4 * np.arange(16) / 16) * 100 + 127
    pictures = np.broadcast_to(wave[None, None, :, None], (1, 16, 16, 1)).astype(np.uint8)
    frequency, power = radial_power(pictures)
    assert frequency[power.argmax()] == pytest.approx(4 / 16)
