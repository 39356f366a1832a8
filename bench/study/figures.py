"""Answers into fooling rates.

The fooling rate is the share of trials in which what was generated passed for real: 50 % is perfect
in pairs. Trials of one person are not independent, so the bootstrap draws whole sittings, and gives
the percentile interval (Efron & Tibshirani 1993, section 13.3).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.study.store import Record, Store

RESAMPLES = 10_000
COVERAGE = 0.95
STOOD = (0.5, 1.5)  # a trial counts if its pictures stood so many times as long as they should


@dataclass(frozen=True)
class Rate:
    """A share, and its interval: None of fewer than two sittings."""

    value: float
    interval: tuple[float, float] | None
    trials: int


@dataclass(frozen=True)
class ModelFigures:
    """What people made of one model.

    Args:
        name: of the model.
        finished: sittings that count.
        abandoned: sittings that were not finished, and do not.
        left_out: trials that do not count, as their pictures stood too long, or hardly at all.
        fooled: None without a counted trial.
        wronged: the share of real pictures that were taken for generated, when shown alone.
        practice: the share of practice trials that were answered right.
        exposure_ms: the median of the counted trials.
    """

    name: str
    finished: int
    abandoned: int
    left_out: int
    fooled: Rate | None
    wronged: Rate | None
    practice: float | None
    exposure_ms: float | None


def rate(outcomes: Sequence[Sequence[bool]], seed: int = 0) -> Rate | None:
    """The share of true outcomes over all sittings, with its bootstrap interval.

    Args:
        outcomes: for each sitting, those of its trials.
        seed: of the bootstrap.
    """
    counted = [sitting for sitting in outcomes if len(sitting)]
    if not counted:
        return None
    trues = np.array([sum(sitting) for sitting in counted])
    sizes = np.array([len(sitting) for sitting in counted])
    value, trials = float(trues.sum() / sizes.sum()), int(sizes.sum())
    if len(counted) < 2:
        return Rate(value, None, trials)
    drawn = np.random.default_rng(seed).integers(len(counted), size=(RESAMPLES, len(counted)))
    rates = trues[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(rates, [tail, 100 - tail])
    return Rate(value, (float(low), float(high)), trials)


def figures(store: Store) -> list[ModelFigures]:
    """Of every model of the study, in its order."""
    sittings = store.sittings()
    records: dict[str, list[Record]] = defaultdict(list)
    for record in store.records():
        if sittings[record.sitting][1]:
            records[record.model].append(record)
    found = []
    for name in store.protocol.generated:
        ends = [finished for model, finished in sittings.values() if model == name]
        found.append(_of_model(name, ends, records[name], store.protocol.exposure_ms))
    return found


def _of_model(name: str, ends: list[bool], records: list[Record], exposure_ms: int) -> ModelFigures:
    asked = [record for record in records if not record.practice]
    least, most = (exposure_ms * times for times in STOOD)
    counted = [record for record in asked if least <= record.exposure_ms <= most]
    practice = [record.answer == record.trial.truth for record in records if record.practice]
    return ModelFigures(
        name=name,
        finished=sum(ends),
        abandoned=len(ends) - sum(ends),
        left_out=len(asked) - len(counted),
        fooled=rate(_by_sitting(counted, generated=True)),
        wronged=rate(_by_sitting(counted, generated=False)),
        practice=statistics.mean(practice) if practice else None,
        exposure_ms=statistics.median(r.exposure_ms for r in counted) if counted else None,
    )


def _by_sitting(records: list[Record], *, generated: bool) -> list[list[bool]]:
    """Whether each trial with, or without, a generated picture was answered wrongly."""
    found: dict[str, list[bool]] = defaultdict(list)
    for record in records:
        if any(record.trial.generated) == generated:
            found[record.sitting].append(record.answer != record.trial.truth)
    return list(found.values())
