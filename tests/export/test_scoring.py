"""The figures of a generator: which there are, and that they tell a good one from a bad one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.evaluate import extractors
from export.manifest import Quality
from export.reality import Labelled, Reality, halves, in_shares, matched, meet
from export.scoring import Sample, score_generator
from tests.export.compared import CLASSES, collapsed, perfect, write_stripes
from training.data.progress import silent


@pytest.fixture(scope="module")
def reality(tmp_path_factory: pytest.TempPathFactory) -> Reality:
    folder = tmp_path_factory.mktemp("stripes")
    return meet(str(write_stripes(folder / "stripes.npz")), 16, 1, silent, folder)


def figures(
    sample: Sample, reality: Reality, classes: tuple[str, ...] = CLASSES
) -> dict[str, Quality]:
    features = extractors(("judge",), reality)
    found = score_generator(sample, reality, features, classes=classes, samples=270)
    return {figure.metric: figure for figure in found}


@pytest.fixture(scope="module")
def good(reality: Reality) -> dict[str, Quality]:
    return figures(perfect, reality)


def test_a_perfect_generator_is_near_the_floor(good: dict[str, Quality]) -> None:
    assert good["label agreement"].value > 0.95
    assert good["GAN-train"].value > 0.9
    for metric in ("precision", "recall", "density", "coverage", "diversity"):
        assert good[metric].value == pytest.approx(good[metric].reference, rel=0.15)
    assert good["NDB"].value <= 4
    assert abs(good["KD-judge"].value) < 4 * (good["KD-judge"].spread or 0)


def test_a_collapsed_one_shows_its_classes_and_nothing_more(
    reality: Reality, good: dict[str, Quality]
) -> None:
    bad = figures(collapsed, reality)
    assert bad["label agreement"].value == 1
    assert bad["FD-judge"].value > 3 * (bad["FD-judge"].reference or 0)
    assert bad["KD-judge"].value > 3 * good["KD-judge"].value
    assert bad["recall"].value < 0.1 < 0.7 < good["recall"].value
    assert bad["coverage"].value < 0.3
    assert bad["diversity within classes"].value == 0
    assert bad["diversity"].value > 0
    assert bad["NDB"].value > 10
    assert bad["JSD"].value > 3 * (bad["JSD"].reference or 0)


def test_every_figure_says_how_many_and_how(good: dict[str, Quality]) -> None:
    assert list(good)[:3] == ["label agreement", "FD-judge", "KD-judge"]
    counts = {metric: figure.samples for metric, figure in good.items()}
    assert counts["label agreement"] == counts["GAN-test"] == counts["GAN-train"] == 270
    assert counts["FD-judge"] == counts["NDB"] == 90  # half the test set
    assert all("stripes" in f.protocol or "classes" in f.protocol for f in good.values())
    assert "90 samples against 90 test images of stripes" in good["FD-judge"].protocol
    assert "50 subsets of 45, unbiased" in good["KD-judge"].protocol
    assert "18 bins by K-means" in good["NDB"].protocol


def test_figures_of_classes_need_the_classes_of_the_data(reality: Reality) -> None:
    always = {"FD-judge", "coverage", "diversity", "NDB", "JSD"}
    found = figures(lambda labels, seeds: perfect(labels % 3, seeds), reality, classes=())
    assert not {"label agreement", "GAN-test", "diversity within classes"} & found.keys()
    assert always <= found.keys()
    other = figures(perfect, reality, classes=("ant", "bee", "cat"))  # as many, but not these
    assert not {"label agreement", "GAN-test", "GAN-train"} & other.keys()
    assert always <= other.keys()


def test_without_a_test_split_or_classes_it_says_so(tmp_path: Path) -> None:
    path = write_stripes(tmp_path / "plain.npz", labelled=False)
    with np.load(path) as arrays:
        np.savez(tmp_path / "whole.npz", images=arrays["train_images"])
    reality = meet(str(tmp_path / "whole.npz"), 16, 1, silent, tmp_path)
    assert reality.verdicts is None
    assert reality.kind == "TRAINING images of whole"
    assert [len(half) for half in reality.halves] == [180, 180]


def test_halves_and_parts_keep_the_shares_of_the_classes() -> None:
    labels = np.array([0] * 10 + [1] * 4 + [2] * 6)
    data = Labelled(np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1), labels)
    one, other = halves(data)
    for half in (one, other):
        assert half.labels is not None
        assert np.bincount(half.labels).tolist() == [5, 2, 3]
    assert not set(one.images.ravel()) & set(other.images.ravel())


def test_labels_in_shares_keep_them_in_every_prefix() -> None:
    counts = np.array([900, 100, 0])
    labels = in_shares(counts, 1_000)
    assert np.bincount(labels, minlength=3).tolist() == counts.tolist()
    for length in (10, 50, 333):
        assert abs(np.sum(labels[:length] == 1) - length / 10) < 1
    assert in_shares(np.array([7, 7, 7]), 8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_matched_images_are_of_the_same_classes_as_far_as_there_are_any() -> None:
    data = Labelled(np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1), np.array([1, 0, 0, 1, 0, 0]))
    like = Labelled(np.zeros((5, 1, 1, 1), np.uint8), np.array([0, 1, 1, 1, 0]))
    found = matched(data, like)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1, 0]  # of the third 1 there is none
    assert found.images.ravel().tolist() == [1, 0, 3, 2]
    plain = Labelled(data.images, None)
    assert matched(plain, like).images.ravel().tolist() == [0, 1, 2, 3, 4]


def test_samples_of_unbalanced_data_are_mixed_as_it_is(tmp_path: Path) -> None:
    mixed = (0,) * 8 + (1, 2)
    reality = meet(str(write_stripes(tmp_path / "u.npz", mixed=mixed)), 16, 1, silent, tmp_path)
    found = figures(perfect, reality)
    floor = found["FD-judge"].reference or 0
    assert found["FD-judge"].value < 1.5 * floor
    assert found["coverage"].value == pytest.approx(found["coverage"].reference, rel=0.15)
    assert found["JSD"].value < 1.5 * (found["JSD"].reference or 0)
    for metric in ("label agreement", "FD-judge", "JSD", "GAN-train"):
        assert "classes of samples in the shares of the test images" in found[metric].protocol
    assert "the same LeNet on 270 real training images" in found["GAN-train"].protocol
    renamed = figures(perfect, reality, classes=("ant", "bee", "cat"))  # no shares of theirs
    assert "classes of samples in turn" in renamed["FD-judge"].protocol
    assert renamed["FD-judge"].value > 3 * floor
