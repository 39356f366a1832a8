"""What a soak must show, from what was noted of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from bench.soak_ledger import Ledger
from bench.soak_watch import Counters, Log, Memory

GROWTH = 0.03  # of memory from when all workers are old, beyond two standard errors
OLD_S = 300.0  # a worker's age when it has filled what it keeps; it grows more slowly all the time
WATCHED_S = 200.0  # of memory, at least
OUR_OWN = frozenset({"/metrics", "/health/ready"})  # asked beside the clients, and not counted
GONE = 499
UNFINISHED = "ASGI callable returned without completing"  # uvicorn, of replies that broke off


@dataclass(frozen=True)
class Check:
    """One thing that must hold; None when this soak could not tell."""

    name: str
    met: bool | None
    told: str


def checks(
    ledger: Ledger, counters: Counters, memory: Memory, log: Log, young_s: float
) -> Iterator[Check]:
    """Every check, in the order of the table; workers were killed for ``young_s`` seconds."""
    yield Check(
        "every answer is right", ledger.judged > 0 and not ledger.wrong,
        f"{ledger.judged:,} judged, {ledger.wrong:,} wrong",
    )  # fmt: skip
    yield _lost(ledger)
    yield from _log_checks(ledger, log)
    yield _failures(ledger)
    yield _requests(ledger, counters, log)
    yield _images(ledger, counters, log)
    yield _cancellations(ledger, counters)
    yield Check(
        "no counter ever fell", counters.looks > 1 and not counters.fallen,
        f"{counters.looks} looks; " + ("; ".join(counters.fallen[:3]) or "none"),
    )  # fmt: skip
    restarts = int(counters.total("ganymede_worker_restarts_total"))
    kills, serving = len(ledger.kills_s), counters.total("ganymede_workers")
    yield Check(
        "every killed worker was replaced",
        restarts == kills and serving == counters.workers if kills else None,
        f"{kills} killed, {restarts} replaced, {serving:g} serve at the end",
    )
    waiting = counters.total("ganymede_queue_rows")
    ready = counters.total("ganymede_ready")
    yield Check(
        "ready and idle at the end", waiting == 0 and ready == 1,
        f"{waiting:g} rows wait, ready is {ready:g}",
    )  # fmt: skip
    yield _memory(memory, young_s + OLD_S)


def _lost(ledger: Ledger) -> Check:
    alone = ledger.unexplained
    underway = len(ledger.lost) - len(alone) + len(ledger.near_kill)
    told = (
        f"{len(ledger.lost)} lost of {underway} underway at {len(ledger.kills_s)} kills; "
        f"{len(alone)} lost without one"
    )
    if alone:
        told += f", such as {alone[0].kind}: {alone[0].why[:100]}"
    return Check("nothing is lost but with a killed worker", not alone, told)


def _log_checks(ledger: Ledger, log: Log) -> Iterator[Check]:
    """Each request has one line; nothing unforeseen is there."""
    twice = [name for name, lines in log.lines.items() if len(lines) > 1]
    missing = ledger.answered.keys() - log.lines.keys()
    unforeseen = missing - ledger.near_kill
    others = [
        f"{name}: {status} came, {log.lines[name][0][0]} was logged"
        for name, status in ledger.answered.items()
        if name in log.lines and log.lines[name][0][0] != status
    ]
    told = (
        f"{len(log.lines):,} lines; {len(twice)} twice, {len(unforeseen)} missing, {len(others)} "
        f"with another status; {len(missing) - len(unforeseen)} missing of killed workers"
    )
    met = not (twice or unforeseen or others)
    yield Check("every request was answered once", met, "; ".join([told, *others[:2]]))
    errors = [each for each in log.errors if not each.startswith(UNFINISHED)]
    told = f"{len(errors)} errors; {ledger.broken_off} replies broke off at their deadline"
    told += "".join(f"; {each}" for each in errors[:2])
    met = not errors and len(log.errors) <= ledger.broken_off + len(ledger.lost)
    yield Check("no error was logged", met, told)


def _failures(ledger: Ledger) -> Check:
    """5xx: 504 where the deadline was short. 503 is among the lost, when a worker was killed."""
    allowed = {("short deadline", 504)}
    failed = {
        f"{kind} {status}": count
        for (kind, status), count in ledger.kinds.items()
        if status >= 500 and (kind, status) not in allowed
    }
    expired = ledger.kinds["short deadline", 504]
    told = f"{expired} expired deadlines" + "".join(f", {n} x {name}" for name, n in failed.items())
    return Check("no 5xx that is not documented", not failed, told)


def _requests(ledger: Ledger, counters: Counters, log: Log) -> Check:
    """By status: at least what surely was counted, at most that and what may have been.

    What became of requests whose clients vanished is read from the log.
    """
    came, counted = Counter(ledger.answered.values()), counters.requests(OUR_OWN)
    left = Counter(log.lines[name][0][0] for name in ledger.vanished.keys() & log.lines.keys())
    doubted = Counter(ledger.answered[name] for name in ledger.near_kill)
    unsure = len(ledger.lost) + len(ledger.kills_s)  # a worker may end between count and log
    wrong = []
    for status in sorted(came.keys() | counted.keys() | left.keys()):
        known = came[status] + left[status]
        if not known - doubted[status] <= counted[status] <= known + unsure:
            wrong.append(f"{status}: {counted[status]} counted, {known} known")
    known = came.total() + left.total()
    if not known - doubted.total() <= counted.total() <= known + unsure:
        wrong.append(f"{counted.total()} in all, {known} known")
    told = (
        f"{counted.total():,} counted; {came.total():,} came ({doubted.total()} of them near "
        f"kills), {left.total():,} of clients that vanished, {len(ledger.lost)} lost"
    )
    return Check("requests_total adds up", not wrong, "; ".join([told, *wrong[:3]]))


def _images(ledger: Ledger, counters: Counters, log: Log) -> Check:
    counted = int(counters.total("ganymede_images_total"))
    gone = ledger.vanished.keys() & log.lines.keys()
    left = sum(images for name in gone for status, images in log.lines[name] if status == 200)
    known, unsure = ledger.images + left, ledger.unsure_images
    told = (
        f"{counted:,} counted; {ledger.images:,} came, {left:,} of clients that vanished, "
        f"{unsure:,} underway at kills"
    )
    return Check("images_total adds up", known - unsure <= counted <= known + unsure, told)


def _cancellations(ledger: Ledger, counters: Counters) -> Check:
    """A client that goes away is counted once, as cancelled and as a request that ended so."""
    cancelled = int(counters.total("ganymede_cancellations_total"))
    ended, vanished = counters.requests(OUR_OWN)[GONE], len(ledger.vanished)
    # A worker may be killed between the two counts.
    met = 0 <= cancelled - ended <= len(ledger.kills_s) and 0 < cancelled <= vanished
    told = f"{cancelled} cancelled, {ended} requests ended so, {vanished} vanished"
    return Check("clients that vanish are cancelled", met, told)


def _memory(memory: Memory, after_s: float) -> Check:
    name = "memory does not grow"
    slope = memory.slope(after_s)
    if slope is None or slope.seconds < WATCHED_S:
        wanted = (
            f"needs {WATCHED_S:.0f} s of workers that are {OLD_S:.0f} s old: ask for more --seconds"
        )
        return Check(name, None, wanted)
    per_minute = slope.bytes_per_s * 60 / 2**20, slope.error * 60 / 2**20
    told = (
        f"{per_minute[0]:+.2f} MiB a minute, standard error {per_minute[1]:.2f}, "
        f"at {slope.mean_bytes / 2**20:,.0f} MiB; surely {slope.surely_grown:+.1%} over "
        f"{slope.seconds:.0f} s, at most {GROWTH:+.0%}"
    )
    return Check(name, slope.surely_grown <= GROWTH, told)
