"""The trials of a sitting: how many, of what, on which side."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from bench.study.protocol import Protocol, Trial, plan_trials
from tests.bench.study.conftest import NAMES, protocol

GENERATED = [name.upper() for name in NAMES]


def test_the_defaults_are_the_papers() -> None:
    study = Protocol(real="", generated={})
    assert (study.kind, study.exposure_ms, study.practice, study.trials) == ("pairs", 1000, 10, 40)
    assert study.length == 50


def test_a_pair_is_one_real_and_one_generated_picture_and_none_comes_twice() -> None:
    trials = plan_trials(protocol(), NAMES, GENERATED, random.Random(0))
    assert len(trials) == 9
    for trial in trials:
        assert [name.isupper() for name in trial.names] == list(trial.generated)
        assert sorted(trial.generated) == [False, True]
    shown = [name for trial in trials for name in trial.names]
    assert len(set(shown)) == len(shown)


def test_the_side_is_drawn_for_each_trial() -> None:
    study = protocol(practice=0, trials=1000)
    names = [f"{k}" for k in range(1000)]
    trials = plan_trials(study, names, names, random.Random(0))
    left = [trial.generated[0] for trial in trials]
    assert 450 < sum(left) < 550  # three standard deviations
    changes = sum(one != other for one, other in pairwise(left))
    assert 450 < changes < 550  # nor does it follow from the side before


def test_a_pair_shows_one_subject_where_the_names_are_the_same() -> None:
    trials = plan_trials(protocol(same_subject=True), NAMES, NAMES[2:], random.Random(0))
    assert all(left == right for left, right in (trial.names for trial in trials))
    assert len({trial.names for trial in trials}) == 9


@pytest.mark.parametrize("seed", range(3))
def test_alone_half_of_the_pictures_are_real_in_practice_as_after_it(seed: int) -> None:
    study = protocol(kind="single", practice=4)
    trials = plan_trials(study, NAMES, GENERATED, random.Random(seed))
    made = [trial.generated[0] for trial in trials]
    assert all(len(trial.names) == 1 for trial in trials)
    assert [trial.names[0].isupper() for trial in trials] == made
    assert (sum(made[:4]), sum(made[4:])) == (2, 3)


def test_another_draw_is_another_order() -> None:
    plans = {tuple(plan_trials(protocol(), NAMES, NAMES, random.Random(k))) for k in range(5)}
    assert len(plans) == 5


@pytest.mark.parametrize(
    ("generated", "truth"),
    [
        ((True, False), "left"),
        ((False, True), "right"),
        ((True,), "generated"),
        ((False,), "real"),
    ],
)
def test_what_is_right(generated: tuple[bool, ...], truth: str) -> None:
    assert Trial(("x",) * len(generated), generated).truth == truth
