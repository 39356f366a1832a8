"""Whole experiments, tiny: the spirals of the bilinear game, and those that learn pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.data import Dataset, Split, load
from training.lab import bilinear, categories, stacked
from training.metrics.judge import Images, Judge, JudgeSettings, Opinion
from training.recipes.dcgan import DCGANConfig

KIMG = 0.016  # two steps of 8 pictures
SMALL = {"base_channels": 4, "d_base_channels": 4}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one: no judge of another run, and no MNIST but what comes along."""
    monkeypatch.setenv("GANYMEDE_CACHE", str(tmp_path))


# The bilinear game.


def test_the_rows_and_the_figure_of_both_updates_are_the_closed_form() -> None:
    finding = bilinear.experiment(1)
    assert [row["iteration"] for row in finding.rows] == [0, 1, 10, 50, 100, 199]
    for row in finding.rows:
        grown = (1 + bilinear.RATE**2) ** (int(row["iteration"]) / 2)
        assert row["closed form"] == pytest.approx(grown)
        assert row["simultaneous: radius"] == pytest.approx(grown, rel=1e-5)
        assert row["alternating: conserved"] == pytest.approx(1, rel=1e-5)
        assert 0.9 < float(row["alternating: radius"]) < 1.1
    plane, radii = finding.figure.axes
    spiral, ellipse, equilibrium = plane.lines
    assert (spiral.get_label(), ellipse.get_label()) == ("simultaneous", "alternating")
    assert (np.hypot(*np.array(ellipse.get_data())) < 1.1).all()
    assert np.hypot(*np.array(spiral.get_data()))[-1] > 2.5
    assert np.array(equilibrium.get_data()).tolist() == [[0], [0]]
    assert [np.size(line.get_xdata()) for line in radii.lines] == [bilinear.ITERATIONS] * 3


# Stacks of digits.


class Knows:
    """A judge that knows every digit of the test set by heart, and takes all else for a 0."""

    def __init__(self) -> None:
        digits = load("mnist-5k", split="test")
        assert digits.labels is not None
        pairs = zip(digits.images, digits.labels, strict=True)
        self.known = {image.tobytes(): int(label) for image, label in pairs}

    def look(self, images: Images) -> Opinion:
        logits = np.eye(10, dtype=np.float32)[[self.known.get(x.tobytes(), 0) for x in images]]
        return Opinion(logits, logits)


def small(games: Mapping[str, DCGANConfig]) -> dict[str, DCGANConfig]:
    return {name: game.model_copy(update=SMALL) for name, game in games.items()}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 draws of the real and of the perfect, 60 of a pair's, and a judge without training."""
    monkeypatch.setattr(stacked, "BATCH", 8)
    monkeypatch.setattr(stacked, "SAMPLES", 4_000)
    monkeypatch.setattr(stacked, "samples", partial(stacked.samples, count=60))
    monkeypatch.setattr(stacked, "digit_judge", lambda source: (Knows(), 0.9876))


@pytest.mark.usefixtures("few")
def test_stacked_digits_come_with_real_ones_a_perfect_sampler_and_the_literature() -> None:
    finding = stacked.experiment(1, KIMG, small(stacked.GAMES))
    rows = {str(row["who"]): (row["modes of 1,000"], row["reverse KL"]) for row in finding.rows}
    assert list(rows) == [
        *(f"ours: {game}" for game in stacked.GAMES),
        "real digits",
        "perfect sampler",
        *(f"published: {who}" for who, *_ in stacked.PUBLISHED),
    ]
    for game in stacked.GAMES:  # the judge reads 000 in all that is no digit
        assert rows[f"ours: {game}"] == ("1", f"{math.log(1_000):.4f}")
    for who in ("real digits", "perfect sampler"):
        modes, divergence = (float(cell) for cell in rows[who])
        assert modes == pytest.approx(1_000 * (1 - math.exp(-4)), abs=15)
        assert divergence == pytest.approx(999 / 8_000, rel=0.2)
    assert rows["published: PacDCGAN2"] == ("1000", "0.06 ± 0.003")
    assert "Stacks of mnist-5k (4,000 digits, 28 px)" in finding.protocol
    assert "4,000 samples, read by a judge of digits with accuracy 0.9876" in finding.protocol


@pytest.mark.usefixtures("few")
def test_judging_pictures_together_has_a_row_and_a_sheet_for_each_way() -> None:
    finding = stacked.minibatch(1, KIMG, small(stacked.TOGETHER))
    assert "several pictures at once" in finding.claim
    who = [str(row["who"]) for row in finding.rows]
    assert who[:5] == [*(f"ours: {way}" for way in stacked.TOGETHER), "real digits"]
    sheets = finding.figure.axes
    assert [axes.get_title() for axes in sheets] == list(stacked.TOGETHER)
    drawn = [np.asarray(axes.images[0].get_array()) for axes in sheets]
    assert all(sheet.shape[2] == 3 and np.ptp(sheet) > 0 for sheet in drawn)
    assert not any(np.array_equal(drawn[0], other) for other in drawn[1:])


def test_the_judge_of_digits_learns_them_once_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def brief(epochs: int) -> JudgeSettings:
        asked.append(epochs)
        return JudgeSettings(epochs=1)

    monkeypatch.setattr(stacked, "JudgeSettings", brief)
    judge, accuracy = stacked.digit_judge("mnist-5k")
    assert asked == [12]
    assert 0.8 < accuracy < 1
    monkeypatch.setattr("training.metrics.judge._fit", None)
    again, same = stacked.digit_judge("mnist-5k")
    assert same == accuracy
    digits = load("mnist-5k", split="test").images[:50]
    assert np.array_equal(again.look(digits).logits, judge.look(digits).logits)


# Categories.


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 pictures to learn, 60 to compare, a tiny pair, and features that nobody trained."""
    torch.manual_seed(0)
    judge = Judge(28, 1, 20)
    monkeypatch.setattr(categories, "BATCH", 8)
    monkeypatch.setattr(categories, "LEARNT", 64)
    monkeypatch.setattr(categories, "ASKED", 60)
    monkeypatch.setattr(categories, "PARTS", (("train", 64), ("test", 60)))
    monkeypatch.setattr(categories, "GAME", categories.GAME.model_copy(update=SMALL))
    monkeypatch.setattr(categories, "judge_of_all", lambda epochs: judge)


@pytest.mark.usefixtures("fewer")
def test_each_set_is_learnt_and_stands_beside_its_real_pictures() -> None:
    sets = ("one: sneakers", "twenty: and the digits")
    finding = categories.experiment(1, KIMG, sets)
    assert [row["learnt"] for row in finding.rows] == list(sets)
    for row in finding.rows:
        numbers = {key: float(value) for key, value in row.items() if key != "learnt"}
        told = {"precision", "coverage", "patches"}
        assert numbers.keys() == told | {f"real: {key}" for key in told}
        for key in ("precision", "coverage"):
            assert 0 <= numbers[key] <= 1
            assert 0.3 < numbers[f"real: {key}"] <= 1
        assert 0 < numbers["real: patches"] < 0.2 < numbers["patches"]  # two steps learn nothing
    titles = [axes.get_title() for axes in finding.figure.axes]
    assert sorted(titles) == sorted([*(f"{name}\nreal" for name in sets), "made", "made"])
    assert all(np.ptp(np.asarray(axes.images[0].get_array())) > 0 for axes in finding.figure.axes)
    assert "of 64 pictures" in finding.protocol
    assert "60 samples against 60 held out" in finding.protocol


@pytest.mark.usefixtures("fewer")
def test_what_was_learnt_by_heart_is_as_good_as_real_in_the_median(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def learnt(known: Dataset, seed: int, kimg: float) -> Images:
        return np.asarray(known.images[:60]) * np.uint8(seed != 1)  # the second is all black

    monkeypatch.setattr(categories, "learnt", learnt)
    (row,) = categories.experiment(3, KIMG, ("ten: all of Fashion-MNIST",)).rows
    for key in ("precision", "coverage", "patches"):
        assert row[key] == row[f"real: {key}"]


def test_the_judge_of_all_tells_clothes_from_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fifth(name: str, split: Split = "train") -> Dataset:
        whole = load(name, split=split)
        assert whole.labels is not None
        return replace(whole, images=whole.images[::5], labels=whole.labels[::5])

    monkeypatch.setattr(categories, "data", SimpleNamespace(load=fifth))
    judge = categories.judge_of_all(2)
    for first, name in ((0, "fashion-mnist-subset"), (10, "mnist-5k")):
        held_out = fifth(name, "test")
        assert held_out.labels is not None
        said = judge.look(held_out.images).labels
        assert ((said >= first) & (said < first + 10)).mean() > 0.95
        assert np.mean(said == held_out.labels + first) > 0.6
