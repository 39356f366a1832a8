"""One class normal, the others not: what is trained on, what stands beside it, and the verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.anomaly import energies, learnt, main, measure, of_class, residuals, table
from bench.command import BenchError
from tests.training.tiny import CLASSES, tiny_config, write_npz
from training import data
from training.config import RunConfig
from training.data.dataset import Dataset
from training.losses import ENERGIES


@pytest.fixture
def images(tmp_path: Path) -> Dataset:
    return data.load(write_npz(tmp_path / "stripes.npz"))


def test_one_class_is_taken_alone(images: Dataset) -> None:
    assert images.labels is not None
    alone = of_class(images, 2)
    assert len(alone) == 12
    assert alone.labels is None
    np.testing.assert_array_equal(alone.images, images.images[images.labels == 2])


def test_a_residual_of_pca_is_what_its_axes_do_not_hold(images: Dataset) -> None:
    normal = of_class(images, 0)
    known, asked = (part.images.reshape(len(part), -1) / 127.5 - 1 for part in (normal, images))
    mean = known.mean(0)
    axes = np.linalg.svd(known - mean)[2][:3]
    expected = np.linalg.norm((asked - mean) - (asked - mean) @ axes.T @ axes, axis=1)
    found = residuals(normal, images, 3, ENERGIES["l2"])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def config() -> RunConfig:
    settings = {"networks": "perceptrons", "code": 3, "energy": "cosine", "margin": 0.2}
    return tiny_config("none", "ebgan", settings, kimg=0.4)


def test_a_seed_is_a_run(images: Dataset) -> None:
    normal = of_class(images, 0)
    one, again, other = (energies(learnt(config(), normal, seed), images) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


def test_each_class_is_normal_in_turn_for_each_seed(images: Dataset) -> None:
    rows = list(measure(config(), images, images, [0, 3], [0, 1]))
    assert [row["normal"] for row in rows] == [CLASSES[0], CLASSES[3]]
    for row in rows:
        assert len(row["ebgan"]) == 2
        assert min(row["ebgan"]) > 0.9  # a stripe elsewhere is easily told
        assert (row["pca"], row["pca_own_energy"]) == (1, 1)


def test_what_loses_stays_in_the_table() -> None:
    rows = [
        {"normal": "0", "ebgan": [0.9, 0.8], "pca": 0.7, "pca_own_energy": 0.6},
        {"normal": "1", "ebgan": [0.5, 0.5], "pca": 0.6, "pca_own_energy": 0.9},
    ]
    shown = [list(column.cells) for column in table(rows, 32, "cosine").columns]
    assert shown[0] == ["0", "1", "mean"]
    assert shown[1] == ["0.8500", "0.5000", "0.6750"]
    assert shown[4] == ["0.7000", "0.6000", "0.6500"]
    assert shown[-1] == ["wins", "LOSES", "wins"]


def test_a_preset_without_a_code_is_refused() -> None:
    with pytest.raises(BenchError, match="must be of the system ebgan, and have a code"):
        main(preset="dcgan-fashion-fast")
