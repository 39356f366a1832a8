"""Contenders in turn, with fakes in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.command import BenchError
from bench.loads import HALF, MANY, ONE, Attack, Load, Outcome, Served, Unavailable
from bench.rounds import Findings, estimate_s, measure, median, order
from export.manifest import FixedSize, Graph, ImageOutput, Latent


@dataclass
class Fake:
    """Writes down what is done to it."""

    name: str
    diary: list[str]
    loads: tuple[Load, ...] = (ONE, MANY)
    missing: bool = False
    breaks_under: Sequence[Load] = field(default_factory=tuple)

    @contextlib.contextmanager
    def open(self, model: Served) -> Iterator[Attack]:
        if self.missing:
            raise Unavailable("no java")
        self.diary.append(f"{self.name} opens")

        def attack(load: Load, seconds: float) -> Outcome:
            if load in self.breaks_under:
                raise BenchError("it ended")
            self.diary.append(f"{self.name} {load.name}")
            return Outcome(len(self.diary), len(self.diary))

        yield attack
        self.diary.append(f"{self.name} closes")


@pytest.fixture
def model() -> Served:
    latent = Latent(name="z", shape=(1,), distribution="normal")
    graph = Graph(inputs=(latent,), outputs=(ImageOutput(name="image", channels=3),), onnx="g.onnx")
    return Served("m", Path("models"), Path("g.onnx"), graph, FixedSize(height=1, width=1))


def run(model: Served, contenders: Sequence[Fake], rounds: int = 1) -> Findings:
    findings = Findings()
    measure([model], contenders, (ONE, MANY), rounds, 1, lambda *_: None, findings)
    return findings


def test_one_contender_runs_at_a_time_and_another_begins_each_round(model: Served) -> None:
    diary: list[str] = []
    run(model, [Fake("a", diary, (ONE,)), Fake("b", diary, (ONE,))], rounds=2)
    a, b = ["a opens", "a 1x1", "a closes"], ["b opens", "b 1x1", "b closes"]
    assert diary == [*a, *b, *b, *a]


def test_the_order_turns() -> None:
    fakes = [Fake(name, []) for name in "abc"]
    assert ["".join(one.name for one in order(fakes, k)) for k in range(4)] == [
        "abc",
        "bca",
        "cab",
        "abc",
    ]


def test_a_missing_contender_is_skipped_with_its_reason(model: Served) -> None:
    diary: list[str] = []
    found = run(model, [Fake("a", diary, missing=True), Fake("b", diary)], rounds=2)
    assert found.skipped == {"a": "no java"}
    assert {name for _, name, _ in found.outcomes} == {"b"}
    assert found.problems == []


def test_a_contender_that_breaks_is_noted_and_keeps_what_it_did(model: Served) -> None:
    found = run(model, [Fake("a", [], breaks_under=(MANY,)), Fake("b", [])])
    assert found.problems == ["a, m: it ended"]
    assert ("m", "a", ONE.name) in found.outcomes
    assert found.median("m", "a", MANY) is None
    assert found.median("m", "b", MANY) is not None


def test_the_median_counts_and_failures_add_up() -> None:
    found = median([Outcome(1, 10, failed=1), Outcome(3, 30), Outcome(2, 50, failed=4)])
    assert (found.requests_per_s, found.images_per_s, found.failed) == (2, 30, 5)


def test_the_estimate_grows_with_all_there_is_and_counts_no_load_that_was_not_asked_for() -> None:
    fake = Fake("a", [])
    once = estimate_s(1, [fake], (ONE,), 1, 4)
    assert estimate_s(2, [fake], (ONE,), 3, 4) == pytest.approx(6 * once)
    assert estimate_s(1, [fake], (ONE, HALF), 1, 4) == once
    assert estimate_s(1, [fake], (HALF,), 1, 4) == 0
