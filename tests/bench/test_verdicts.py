"""What is required, on figures made up for it."""

from __future__ import annotations

import pytest

from bench.in_process import ALONE, TOGETHER
from bench.loads import AGAIN, CROWD, FAR_OVER, LARGE, MANY, ONE, OVER, Load, Outcome
from bench.rounds import Findings
from bench.verdicts import (
    CONSTANT,
    OURS,
    REFUSING,
    WITH_OURS,
    WITH_PILLOW,
    Verdict,
    good_bar,
    in_process_per_s,
    verdicts,
)

PEERS = ("mosec", "fastapi")


def findings(
    *figures: tuple[str, Load, Outcome], model: str = "dcgan-32", rounds: int = 1
) -> Findings:
    found = Findings()
    for contender, load, outcome in figures:
        found.outcomes[model, contender, load.name] = [outcome] * rounds
    return found


def judged(found: Findings, model: str = "dcgan-32") -> dict[str, Verdict]:
    return {one.requirement: one for one in verdicts(found, model, PEERS, None)}


def rate(per_s: float, p99_ms: float = 1.0, p50_ms: float = 1.0) -> Outcome:
    return Outcome(per_s, per_s, p50_ms, p99_ms)


def test_the_best_peer_of_each_column_is_the_bar() -> None:
    found = judged(
        findings(
            (OURS, MANY, rate(100, p99_ms=9)),
            ("mosec", MANY, rate(90, p99_ms=20)),
            ("fastapi", MANY, rate(80, p99_ms=8)),
        )
    )
    assert found["64 clients"] == Verdict("dcgan-32", "64 clients", 100, 90, against="mosec")
    assert found["64 clients"].met
    assert found["64 clients, p99"].against == "fastapi"
    assert not found["64 clients, p99"].met


@pytest.mark.parametrize(("model", "met"), [("dcgan-32", False), ("dcgan-64", True)])
def test_three_per_cent_are_allowed_only_where_the_limit_leaves_no_room(
    model: str, met: bool
) -> None:
    found = findings((OURS, CROWD, rate(98)), ("mosec", CROWD, rate(100)), model=model)
    assert judged(found, model)["256 clients"].met is met


def test_one_client_leaves_room_for_every_model() -> None:
    found = findings((OURS, ONE, rate(98)), ("mosec", ONE, rate(100)), model="dcgan-64")
    assert not judged(found, "dcgan-64")["1 client"].met


def test_a_peer_that_answered_nothing_has_no_latency_to_beat() -> None:
    found = findings(
        (OURS, MANY, rate(100, p99_ms=9)),
        ("mosec", MANY, Outcome(0, 0)),
        ("fastapi", MANY, rate(80, p99_ms=10)),
    )
    assert judged(found)["64 clients, p99"].against == "fastapi"


def test_if_we_answer_nothing_no_latency_of_ours_is_good() -> None:
    found = judged(findings((OURS, MANY, Outcome(0, 0)), ("mosec", MANY, rate(10))))
    assert not found["64 clients"].met
    assert not found["64 clients, p99"].met


def test_the_limit_is_that_of_the_best_batch_size() -> None:
    rates = zip(TOGETHER, (8800, 11200, 9000), strict=True)
    found = findings(
        *((WITH_PILLOW, load, rate(per_s)) for load, per_s in rates), (OURS, LARGE, rate(16799))
    )
    assert in_process_per_s(found, "dcgan-32", WITH_PILLOW) == 11200
    (verdict,) = judged(found).values()
    assert verdict.bar == pytest.approx(16800)
    assert not verdict.met


def test_one_client_may_take_a_quarter_of_a_millisecond_more_than_the_work() -> None:
    alone = (WITH_OURS, ALONE, rate(1, p50_ms=0.12))
    name = "1 client: p50 less in process"
    for p50_ms, met in ((0.36, True), (0.38, False)):
        found = judged(findings(alone, (OURS, ONE, rate(1, p50_ms=p50_ms))))
        assert found[name].met is met


def test_refusals_are_paid_for() -> None:
    assert good_bar(1000, 1 / 10_000, 2000) == pytest.approx(0.95 * 0.8 * 1000)
    assert good_bar(1000, 1 / 10_000, 20_000) == 0


def test_overload_is_judged_by_the_measured_cost_of_a_refusal() -> None:
    over = Outcome(requests_per_s=760, images_per_s=760, p99_ms=21, refused_per_s=2000)
    found = judged(
        findings(
            (OURS, MANY, rate(1000, p99_ms=10)),
            (REFUSING, MANY, Outcome(0, 0, refused_per_s=10_000)),
            (OURS, OVER, over),
            (OURS, FAR_OVER, Outcome(0, 0, refused_per_s=9000)),
        )
    )
    assert found["150% load: good answers"].bar == pytest.approx(760)
    assert not found["150% load: p99 of accepted"].met  # 21 ms, and 20 are allowed
    assert not found["300% load: p99 of accepted"].met  # nothing was accepted


def test_the_cache_is_held_against_the_constant_body_at_as_many_clients() -> None:
    one, many = AGAIN
    found = judged(
        findings(
            (OURS, one, rate(39)),
            (OURS, many, rate(81)),
            (CONSTANT, ONE, rate(100)),
            (CONSTANT, MANY, rate(200)),
        )
    )
    assert [verdict.met for verdict in found.values()] == [False, True]


def test_what_was_not_measured_is_not_judged() -> None:
    assert judged(findings()) == {}


def test_files_may_be_a_tenth_larger_than_pillows() -> None:
    for ratio, met in ((1.1, True), (1.11, False)):
        (verdict,) = verdicts(Findings(), "dcgan-32", PEERS, ratio)
        assert verdict.met is met
