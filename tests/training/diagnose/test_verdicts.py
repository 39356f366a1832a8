"""The rules: what each verdict stands on, and which is named first."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from training.config import validate
from training.diagnose.record import Metric
from training.diagnose.verdicts import HEALTHY, VERDICTS, Name, judge
from training.recipes import SYSTEMS

WELL = {
    "accuracy_real": 0.7,
    "accuracy_fake": 0.7,
    "jsd": 0.1,
    "swings": 0.0,
    "gradient_left": 0.3,
    "loss_growth": 1.0,
    "copies": 0.0,
    "missing_share": 0.0,
    "near_fake": 1.0,
    "precision": 0.6,
    "coverage": 0.4,
    "trained": 1.0,
}
NONE = {"value": 0.0, "reference": 0.0}
NOISE = {"coverage": 0.01, "precision": 0.1, "missing_share": 0.4}
WON = {"accuracy_real": 1.0, "accuracy_fake": 1.0, "jsd": 0.69}


def verdicts(**changed: float) -> list[str]:
    metrics = {
        name: Metric(value=value, samples=100, protocol="made up")
        for name, value in (WELL | changed).items()
    }
    return [finding.verdict for finding in judge(metrics)]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, [HEALTHY]),
        ({"diverged": 1.0}, ["divergence"]),
        ({"loss_growth": 1e4}, ["divergence"]),
        ({"swings": 8.0}, ["oscillation"]),
        ({"swings": 8.0, "missing_share": 0.9}, ["oscillation", "mode collapse"]),
        (WON | {"gradient_left": 1e-4}, ["vanishing gradients"]),
        (WON | {"precision": 0.0}, ["D overpowering"]),
        (WON, [HEALTHY]),  # it wins, and the pictures are good all the same
        (WON | {"jsd": 0.2, "precision": 0.2}, [HEALTHY]),
        (WON | {"jsd": 0.2, "precision": 0.0}, ["D overpowering"]),  # hinge, least squares
        (WON | {"accuracy_fake": 0.97, "jsd": 0.2, "precision": 0.0}, [HEALTHY]),
        ({"gradient_left": 1e-4}, [HEALTHY]),  # both have settled
        ({"copies": 0.5}, ["memorisation"]),
        ({"copies": 0.5, "missing_share": 0.9}, ["mode collapse"]),
        ({"missing_share": 0.4}, ["mode collapse"]),
        ({"near_fake": 0.05}, ["mode collapse"]),
        ({"near_fake": 0.05, "coverage": 0.0, "precision": 0.0}, ["mode collapse"]),
        ({"coverage": 0.07}, ["undertrained"]),
        ({"trained": 0.1}, ["undertrained"]),
        ({"trained": 0.6}, [HEALTHY]),
        ({"trained": 0.1, "missing_share": 0.9}, ["undertrained", "mode collapse"]),
        (NOISE, ["undertrained", "mode collapse"]),  # not one of few kinds: of none
        (NOISE | {"precision": 0.6}, ["mode collapse"]),
        ({"trained": 0.1, "diverged": 1.0}, ["divergence"]),  # more time mends neither
        ({"trained": 0.1, "swings": 8.0, "missing_share": 0.4}, ["oscillation", "mode collapse"]),
    ],
)
def test_numbers_make_a_verdict(changed: dict[str, float], named: list[str]) -> None:
    assert verdicts(**changed) == named


def test_copies_are_counted_beyond_those_among_real_pictures() -> None:
    def told(copies: float, real: float) -> str:
        metric = Metric(value=copies, reference=real, samples=100, protocol="made up")
        (finding,) = judge({"copies": metric, "missing_share": metric.model_copy(update=NONE)})
        return f"{finding.verdict}: {finding.because[0]}"

    assert told(0.45, 0.4).startswith(HEALTHY)
    assert told(0.7, 0.4).startswith("memorisation: copies is 0.7, above 0.6: ")


def test_a_number_that_is_not_there_accuses_nobody() -> None:
    assert [finding.verdict for finding in judge({})] == [HEALTHY]


def test_every_verdict_has_its_reasons_and_says_what_to_do() -> None:
    assert {verdict.name for verdict in VERDICTS} | {HEALTHY} == set(get_args(Name))
    for verdict in VERDICTS:
        assert verdict.advice
        assert all(rule.reason for case in verdict.cases for rule in case)


def test_what_to_do_names_settings_that_exist() -> None:
    advice = " ".join(line for verdict in VERDICTS for line in verdict.advice)
    named = set(re.findall(r"(?:recipe|schedule)\.[a-z0-9_.]*[a-z0-9]", advice))
    assert len(named) > 5
    schedule = {"schedule.precision", "schedule.kimg"}
    settings = set()
    for system in SYSTEMS:
        raw = {
            "recipe": {"system": system},
            "data": {"source": "none"},
            "schedule": {"kimg": 1},
        }
        settings |= set(validate(raw, "test").recipe.model_dump())
    assert {name for name in named if name.split(".")[1] not in settings} <= schedule
