"""What the service must show, each requirement with what was measured and whether it is met."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.in_process import ALONE, TOGETHER
from bench.loads import (
    AGAIN,
    CROWD,
    EIGHT,
    FAR_OVER,
    HALF,
    LARGE,
    MANY,
    ONE,
    OVER,
    Closed,
    Load,
    Outcome,
)
from bench.rounds import Findings

OURS, REFUSING, CONSTANT = "ganymede", "ganymede-refusing", "constant"
BARE, WITH_PILLOW, WITH_OURS = "onnxruntime", "onnxruntime-pillow", "onnxruntime-png"

LEEWAY = 0.03  # where the limit leaves no room
NO_ROOM = {"dcgan-64": (EIGHT, MANY, CROWD, LARGE, OVER, FAR_OVER)}
LIMIT_SHARES: dict[str, dict[Load, float]] = {
    "dcgan-32": {MANY: 0.9, LARGE: 1.5},
    "dcgan-64": {MANY: 1.0, LARGE: 1.0},
}
"""Of the in-process limit with Pillow, by model and load."""
OVERHEAD_MS = 0.25
GOOD_SHARE = 0.95
P99_TIMES = 2.0
CACHE_SHARE = 0.4
SIZE_RATIO = 1.10


@dataclass(frozen=True)
class Verdict:
    """One requirement of one model."""

    model: str
    requirement: str
    ours: float
    bar: float
    at_most: bool = False  # else at least
    unit: str = "/s"
    against: str = ""  # where the bar comes from

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.ours <= self.bar if self.at_most else self.ours >= self.bar


Figure = tuple[str, Load, str, Callable[[Outcome], float]]


def _rate(outcome: Outcome) -> float:
    return outcome.images_per_s


def _p50(outcome: Outcome) -> float:
    return outcome.p50_ms


def _p99(outcome: Outcome) -> float:
    return outcome.p99_ms


COLUMNS: tuple[Figure, ...] = (
    ("1 client", ONE, "/s", _rate),
    ("1 client, p50", ONE, "ms", _p50),
    ("8 clients", EIGHT, "/s", _rate),
    ("64 clients", MANY, "/s", _rate),
    ("64 clients, p99", MANY, "ms", _p99),
    ("256 clients", CROWD, "/s", _rate),
    ("8 x 16 images", LARGE, "/s", _rate),
    ("50 % load, p99", HALF, "ms", _p99),
    ("150 % load, good", OVER, "/s", _rate),
)
"""Of the comparison with the peers: the figure's name, its load, its unit and where it stands."""


def verdicts(
    findings: Findings, model: str, peers: Sequence[str], largest_file: float | None
) -> list[Verdict]:
    """Every requirement for which there are measurements."""
    found = [
        *_against_peers(findings, model, peers),
        *_against_limits(findings, model),
        *_overload(findings, model),
        *_cache(findings, model),
    ]
    if largest_file is not None:
        size = Verdict(model, "largest PNG", largest_file, SIZE_RATIO, True, "x", "Pillow level 1")
        found.append(size)
    return found


def _against_peers(findings: Findings, model: str, peers: Sequence[str]) -> Iterator[Verdict]:
    """Each column beside the best peer in it."""
    for name, load, unit, figure in COLUMNS:
        ours = findings.median(model, OURS, load)
        others = {peer: findings.median(model, peer, load) for peer in peers}
        # Of a peer that answered nothing there is no latency to beat.
        there = {peer: figure(one) for peer, one in others.items() if one and one.requests_per_s}
        if ours is None or not there:
            continue
        at_most = unit == "ms"
        best = (min if at_most else max)(there, key=lambda peer: there[peer])
        leeway = LEEWAY if load in NO_ROOM.get(model, ()) else 0.0
        bar = there[best] * (1 + leeway if at_most else 1 - leeway)
        value = figure(ours) if ours.requests_per_s or not at_most else float("inf")
        yield Verdict(model, name, value, bar, at_most, unit, best)


def in_process_per_s(findings: Findings, model: str, limit: str) -> float | None:
    """The most images a second of a limit, over its batch sizes."""
    found = [findings.median(model, limit, load) for load in TOGETHER]
    return max((one.images_per_s for one in found if one), default=None)


def _against_limits(findings: Findings, model: str) -> Iterator[Verdict]:
    limit = in_process_per_s(findings, model, WITH_PILLOW)
    for load, share in LIMIT_SHARES.get(model, {}).items():
        ours = findings.median(model, OURS, load)
        if ours and limit:
            name = f"{load.name}: {share:g} of in process with Pillow"
            yield Verdict(model, name, ours.images_per_s, share * limit, against=f"{limit:,.0f}/s")
    ours, alone = findings.median(model, OURS, ONE), findings.median(model, WITH_OURS, ALONE)
    if ours and alone:
        over_ms = ours.p50_ms - alone.p50_ms
        name = "1 client: p50 less in process"
        against = f"in process {alone.p50_ms:.2f} ms"
        yield Verdict(model, name, over_ms, OVERHEAD_MS, True, "ms", against)


def good_bar(capacity: float, refusal_cost_s: float, refused_per_s: float) -> float:
    """Good answers a second that overload must leave.

    Args:
        capacity: good answers a second without overload.
        refusal_cost_s: seconds of the machine that one refusal takes.
        refused_per_s: refusals a second.
    """
    return GOOD_SHARE * max(0.0, 1 - refusal_cost_s * refused_per_s) * capacity


def capacity_per_s(findings: Findings, model: str, contender: str) -> float:
    """The most single images a second that it answered in a closed loop."""
    loads = (Closed(clients) for clients in (1, 8, 64, 256))
    found = [findings.median(model, contender, load) for load in loads]
    return max((one.requests_per_s for one in found if one), default=0.0)


def _overload(findings: Findings, model: str) -> Iterator[Verdict]:
    refusing, full = (
        findings.median(model, REFUSING, MANY),
        findings.median(model, OURS, MANY),
    )
    capacity = capacity_per_s(findings, model, OURS)
    for load in (OVER, FAR_OVER):
        ours = findings.median(model, OURS, load)
        if ours is None or full is None:
            continue
        if refusing and refusing.refused_per_s:
            cost_s = 1 / refusing.refused_per_s
            bar = good_bar(capacity, cost_s, ours.refused_per_s)
            against = f"capacity {capacity:,.0f}/s, a refusal {cost_s * 1e6:.0f} us"
            name = f"{load.name} load: good answers"
            yield Verdict(model, name, ours.requests_per_s, bar, against=against)
        p99 = ours.p99_ms if ours.requests_per_s else float("inf")
        bar, against = P99_TIMES * full.p99_ms, f"64 clients {full.p99_ms:.1f} ms"
        yield Verdict(model, f"{load.name} load: p99 of accepted", p99, bar, True, "ms", against)


def _cache(findings: Findings, model: str) -> Iterator[Verdict]:
    for again in AGAIN:
        ours = findings.median(model, OURS, again)
        constant = findings.median(model, CONSTANT, Closed(again.clients))
        if ours and constant:
            name = f"same seed again, {again.clients} clients"
            bar = CACHE_SHARE * constant.requests_per_s
            against = f"constant body {constant.requests_per_s:,.0f}/s"
            yield Verdict(model, name, ours.requests_per_s, bar, against=against)
