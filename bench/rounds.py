"""Contenders in turn, round after round, and the medians of what came of it."""

from __future__ import annotations

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.command import BenchError
from bench.loads import WARM_S, Batches, Contender, Load, Outcome, Paced, Served, Unavailable
from training.data.progress import Progress

OPENING_S = 8.0  # what it takes to start a contender, check it and stop it, about


@dataclass
class Findings:
    """What was measured; it can be read at any time."""

    outcomes: dict[tuple[str, str, str], list[Outcome]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Model, contender and load -> one outcome per round."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Contenders that cannot be had -> why."""
    problems: list[str] = field(default_factory=list)
    """What went wrong; the loads after it are missing from that round."""

    def median(self, model: str, contender: str, load: Load) -> Outcome | None:
        """The median of each figure over the rounds; None if nothing was measured."""
        found = self.outcomes.get((model, contender, load.name))
        return median(found) if found else None

    def rows(self) -> list[dict[str, Any]]:
        """All medians, and the rounds, as JSON."""
        return [
            {
                "model": model,
                "contender": contender,
                "load": load,
                **dataclasses.asdict(median(found)),
                "rounds": [dataclasses.asdict(outcome) for outcome in found],
            }
            for (model, contender, load), found in self.outcomes.items()
        ]


def median(rounds: Sequence[Outcome]) -> Outcome:
    """The median of each figure; of failures, the sum."""
    names = [entry.name for entry in dataclasses.fields(Outcome) if entry.name != "failed"]
    figures = {name: statistics.median(getattr(one, name) for one in rounds) for name in names}
    return Outcome(**figures, failed=sum(one.failed for one in rounds))


def load_s(load: Load, seconds: float) -> float:
    """How long a load takes, about."""
    match load:
        case Paced():
            opening_s = 1.0 if load.share < 1 else 0.5
            return opening_s + WARM_S + seconds + max(0.0, load.share - 1)
        case Batches():
            return seconds + 0.5
        case _:
            return WARM_S + seconds


def round_s(contender: Contender, loads: Sequence[Load], seconds: float) -> float:
    """How long a contender takes with one model in one round, about."""
    mine = [load for load in contender.loads if load in loads]
    return OPENING_S + sum(load_s(load, seconds) for load in mine) if mine else 0.0


def estimate_s(
    models: int, contenders: Sequence[Contender], loads: Sequence[Load], rounds: int, seconds: float
) -> float:
    """How long all of it takes, about."""
    return rounds * models * sum(round_s(one, loads, seconds) for one in contenders)


def order(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Another one begins in each round, so that none always comes first or after the same."""
    first = number % len(contenders)
    return [*contenders[first:], *contenders[:first]]


def measure(
    models: Sequence[Served],
    contenders: Sequence[Contender],
    loads: Sequence[Load],
    rounds: int,
    seconds: float,
    progress: Progress,
    findings: Findings,
) -> None:
    """Fill ``findings``; a contender that fails is noted, and the others go on."""
    total_s = estimate_s(len(models), contenders, loads, rounds, seconds)
    done_s = 0.0
    for number in range(rounds):
        for model in models:
            for contender in order(contenders, number):
                _turn(model, contender, loads, seconds, findings)
                done_s += round_s(contender, loads, seconds)
                progress("measurements", round(done_s), round(total_s))


def _turn(
    model: Served, contender: Contender, loads: Sequence[Load], seconds: float, findings: Findings
) -> None:
    mine = [load for load in contender.loads if load in loads]
    if not mine or contender.name in findings.skipped:
        return
    try:
        with contender.open(model) as attack:
            for load in mine:
                outcome = attack(load, seconds)
                findings.outcomes[model.name, contender.name, load.name].append(outcome)
    except Unavailable as reason:
        findings.skipped[contender.name] = str(reason)
    except BenchError as error:
        findings.problems.append(f"{contender.name}, {model.name}: {error}")
