"""Fooling rates and their intervals, against closed forms."""

from __future__ import annotations

from itertools import accumulate
from math import comb
from statistics import NormalDist

import numpy as np
import pytest

from bench.study.__main__ import table
from bench.study.figures import figures, rate
from tests.bench.study.conftest import NewStore, sit


def binomial_quantile(q: float, n: int, p: float) -> float:
    """The least share whose probability of not being passed is at least ``q``."""
    masses = (comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1))
    return next(k for k, mass in enumerate(accumulate(masses)) if mass >= q) / n


@pytest.mark.parametrize(("fooled", "sittings"), [(8, 40), (25, 50), (3, 200)])
def test_of_sittings_of_one_trial_the_interval_is_binomial(fooled: int, sittings: int) -> None:
    found = rate([[k < fooled] for k in range(sittings)])
    assert found is not None
    assert (found.value, found.trials) == (fooled / sittings, sittings)
    # The bootstrap of a mean of zeros and ones is a binomial over the count.
    exact = [binomial_quantile(q, sittings, fooled / sittings) for q in (0.025, 0.975)]
    assert found.interval == pytest.approx(exact, abs=1.01 / sittings)


def test_of_equal_sittings_the_interval_is_that_of_a_mean() -> None:
    random = np.random.default_rng(3)
    shares = random.beta(3, 6, size=60)  # people differ
    outcomes = [list(random.random(40) < share) for share in shares]
    found = rate(outcomes)
    assert found is not None
    assert found.interval is not None
    means = [np.mean(sitting) for sitting in outcomes]
    error = np.std(means) / np.sqrt(len(means))
    normal = NormalDist(float(np.mean(means)), float(error))
    exact = (normal.inv_cdf(0.025), normal.inv_cdf(0.975))
    assert found.interval == pytest.approx(exact, abs=0.1 * (exact[1] - exact[0]))
    # As if every trial were a person of its own: too narrow by far.
    naive = 2 * 1.96 * np.sqrt(found.value * (1 - found.value) / found.trials)
    assert found.interval[1] - found.interval[0] > 1.5 * naive


def test_one_sitting_has_no_interval_and_none_has_no_rate() -> None:
    one = rate([[True, False]])
    assert one is not None
    assert (one.value, one.interval) == (0.5, None)
    assert rate([]) is None


def test_the_same_answers_give_the_same_interval() -> None:
    outcomes = [[k % 3 == 0, k % 2 == 0] for k in range(20)]
    assert rate(outcomes) == rate(outcomes)


def test_practice_and_abandoned_sittings_do_not_count(new_store: NewStore) -> None:
    store = new_store(generated={"a": "1"})
    models = {"a": [f"p{k:02}" for k in range(12)]}
    store.begin("nobody", models["a"], models)  # never answers
    sit_here = {"wrong in practice": lambda k: k >= 3, "fooled twice": lambda k: k not in (4, 5)}
    for person, right in sit_here.items():
        sit(store, person, right=right)
    sit(store, "leaves", right=lambda _: False, finished=False)
    (found,) = figures(store)
    assert (found.finished, found.abandoned) == (2, 2)
    assert found.fooled is not None
    assert (found.fooled.value, found.fooled.trials) == (2 / 12, 12)
    assert found.practice == 0.5
    assert found.exposure_ms == 1000


def test_trials_that_stood_too_long_or_hardly_are_left_out(new_store: NewStore) -> None:
    store = new_store(generated={"a": "1"})
    names = [f"p{k:02}" for k in range(12)]
    token = store.begin("ann", names, {"a": names})
    exposures_ms = [1000.0] * 3 + [0.0, 499.0, 500.0, 1000.0, 1500.0, 1501.0]
    for number, exposure_ms in enumerate(exposures_ms):
        store.show(token, number)
        store.answer(token, number, "left", exposure_ms, 300)
    (found,) = figures(store)
    assert found.left_out == 3
    assert found.fooled is not None
    assert found.fooled.trials == 3


def test_alone_real_and_generated_pictures_are_counted_apart(new_store: NewStore) -> None:
    store = new_store(kind="single", generated={"a": "1"})
    names = [f"p{k:02}" for k in range(12)]
    token = store.begin("ann", names, {"a": names})
    for number in range(store.protocol.length):
        store.show(token, number)
        store.answer(token, number, "real", 1000, 300)
    (found,) = figures(store)
    assert found.fooled is not None
    assert found.wronged is not None
    assert (found.fooled.value, found.fooled.trials) == (1.0, 3)
    assert (found.wronged.value, found.wronged.trials) == (0.0, 3)


def test_a_study_without_people_reports_nothing(new_store: NewStore) -> None:
    store = new_store()
    found = figures(store)
    assert [(each.name, each.finished, each.fooled) for each in found] == [
        ("a", 0, None),
        ("b", 0, None),
    ]
    assert table(found, store.protocol).row_count == 2
