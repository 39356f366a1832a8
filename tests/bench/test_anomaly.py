"""One class normal, the others not: what is trained on, what stands beside it, and the verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.anomaly import energies, learnt, main, measure, residuals, table, without_adversary
from bench.anomaly_trials import (
    PROTOCOLS,
    Protocol,
    Question,
    Trial,
    held_out,
    of,
    one_class,
    other_data,
    pasted,
    patches,
    scratched,
    textures,
)
from bench.command import BenchError
from tests.training.tiny import CLASSES, tiny_config, tiny_recipe, write_npz
from training import data
from training.config import RunConfig
from training.data.dataset import Dataset
from training.losses import ENERGIES


@pytest.fixture
def images(tmp_path: Path) -> Dataset:
    return data.load(write_npz(tmp_path / "stripes.npz"))


def of_class(images: Dataset, label: int) -> Dataset:
    assert images.labels is not None
    return of(images, images.labels == label, "one class")


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


def test_each_question_is_answered_for_each_seed(images: Dataset) -> None:
    assert images.labels is not None
    trials = (
        Trial(of_class(images, k), {CLASSES[k]: Question(images, images.labels != k)})
        for k in (0, 3)
    )
    rows = list(measure(config(), PROTOCOLS["one-class"], trials, [0, 1]))
    assert [row["question"] for row in rows] == [CLASSES[0], CLASSES[3]]
    for row in rows:
        assert len(row["ebgan"]) == len(row["alone"]) == 2
        assert min(row["ebgan"]) > 0.9  # a stripe elsewhere is easily told
        assert (row["pca"], row["pca_own_energy"]) == (1, 1)


def test_what_loses_stays_in_the_table() -> None:
    rows = [
        {
            "question": "0",
            "ebgan": [0.9, 0.8],
            "alone": [0.5, 0.7],
            "pca": 0.7,
            "pca_own_energy": 0,
        },
        {
            "question": "1",
            "ebgan": [0.5, 0.5],
            "alone": [0.5, 0.5],
            "pca": 0.6,
            "pca_own_energy": 0,
        },
    ]
    protocol = Protocol("", one_class, published={"theirs": {"1": ".123"}})
    shown = [list(column.cells) for column in table(rows, protocol, 32, "cosine").columns]
    assert shown[0] == ["0", "1", "mean"]
    assert shown[1] == ["0.8500", "0.5000", "0.6750"]
    assert shown[4] == ["0.6000", "0.5000", "0.5500"]
    assert shown[5] == ["0.7000", "0.6000", "0.6500"]
    assert shown[7] == ["wins", "LOSES", "wins"]
    assert shown[8] == ["", ".123", ""]


def test_without_adversary_the_autoencoder_learns_alone_to_the_end(images: Dataset) -> None:
    generators = [
        learnt(chosen, images, 0).generator.state_dict()
        for chosen in (without_adversary(config()), config())
    ]
    torch.manual_seed(0)
    begun = tiny_recipe("ebgan", networks="perceptrons", code=3).generator.state_dict()
    same = [all(g[name].equal(begun[name]) for name in begun) for g in generators]
    assert same == [True, False]


def test_a_class_is_normal_and_then_anomalous(tmp_path: Path) -> None:
    known = np.load(write_npz(tmp_path / "known.npz"))
    tests = {f"test_{name}": known[name] for name in ("images", "labels")}
    np.savez(tmp_path / "stripes.npz", **known, **tests)
    source = str(tmp_path / "stripes.npz")
    ((normal, asked),) = ((t.normal, t.questions["coat"]) for t in one_class(source, 16, [2]))
    ((others, held),) = ((t.normal, t.questions["coat"]) for t in held_out(source, 16, [2]))
    assert (len(normal), len(others), len(asked.asked)) == (12, 36, 48)
    assert asked.anomalous.sum() == 36
    np.testing.assert_array_equal(asked.anomalous, ~held.anomalous)
    np.testing.assert_array_equal(asked.asked.images[~asked.anomalous], normal.images)


def test_of_two_sets_each_is_normal_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    paths = {"one": write_npz(tmp_path / "1.npz"), "fashion-mnist-subset": tmp_path / "2.npz"}
    write_npz(tmp_path / "2.npz", seed=1)
    load = data.load
    monkeypatch.setattr(
        "training.data.load", lambda source, *, split, size: load(paths[source], size=size)
    )
    trials = list(other_data("one", 16, []))
    assert [list(trial.questions) for trial in trials] == [["1, against 2"], ["2, against 1"]]
    for trial in trials:
        (question,) = trial.questions.values()
        assert question.anomalous.tolist() == [False] * 48 + [True] * 48
        np.testing.assert_array_equal(question.asked.images[:48], trial.normal.images)


def test_patches_tile_a_photograph() -> None:
    photograph = np.arange(30, dtype=np.uint8).reshape(5, 6)
    found = patches(photograph, 3, 2)
    assert found.shape == (4, 3, 3, 1)
    np.testing.assert_array_equal(found[1, ..., 0], photograph[:3, 2:5])


def test_a_defect_is_where_it_is_and_nowhere_else() -> None:
    random = np.random.default_rng(0)
    normal, other = np.zeros((5, 28, 28, 1), np.uint8), np.full((5, 28, 28, 1), 7, np.uint8)
    squares, lines = pasted(normal, other, random), scratched(normal, random)
    assert ((squares == 7).sum((1, 2, 3)) == 100).all()
    assert ((lines == 255).sum((1, 2, 3)) == 28).all()
    assert not normal.any()


def test_a_texture_is_learnt_at_the_left_and_asked_at_the_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = {"brick": 10, "gravel": 20, "grass": 30}

    def photograph(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        found = np.full((512, 512), levels[name], np.uint8)
        found[:, 384:] += 1
        return found

    monkeypatch.setattr("bench.anomaly_trials._photograph", photograph)
    brick, *_ = textures("", 28, [])
    assert (brick.normal.images == 10).all()
    assert len(brick.questions) == 3
    for question in brick.questions.values():
        pictures = question.asked.images
        assert (pictures[~question.anomalous] == 11).all()
        assert all((picture != 11).any() for picture in pictures[question.anomalous])


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(BenchError, match="there are: one-class, held-out, other-data, textures"):
        main(protocol="two-class")


def test_a_preset_without_a_code_is_refused() -> None:
    with pytest.raises(BenchError, match="must be of the system ebgan, and have a code"):
        main(preset="dcgan-fashion-fast")
