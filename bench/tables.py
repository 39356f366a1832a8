"""The figures of the service's measurement, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bench.in_process import ALONE, TOGETHER
from bench.loads import AGAIN, FAR_OVER, HALF, MANY, ONE, OVER, SERVER_LOADS, Load, Outcome, Paced
from bench.rounds import Findings
from bench.verdicts import Verdict


def servers(findings: Findings, model: str, names: Sequence[str]) -> Table:
    """Closed loops and half load: a row for each server."""
    table = Table(title=f"{model}: images/s in closed loops, latencies in ms", title_justify="left")
    table.add_column("", no_wrap=True)
    shown = [load for load in (*SERVER_LOADS, *AGAIN) if not isinstance(load, Paced)]
    for load in shown:
        note = " (p50)" if load == ONE else " (p99)" if load == MANY else ""
        table.add_column(load.name + note, justify="right")
    table.add_column("50% p99", justify="right")
    table.add_column("failed", justify="right")
    for name in names:
        found = {load: findings.median(model, name, load) for load in (*shown, HALF)}
        if not any(found.values()):
            continue
        failed = sum(one.failed for one in found.values() if one)
        half = found[HALF]
        cells = [_closed(load, found[load]) for load in shown]
        table.add_row(name, *cells, f"{half.p99_ms:.1f}" if half else "", f"{failed or ''}")
    return table


def _closed(load: Load, outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    cell = f"{outcome.images_per_s:,.0f}"
    if load == ONE:
        return f"{cell} ({outcome.p50_ms:.2f})"
    return f"{cell} ({outcome.p99_ms:.1f})" if load == MANY else cell


def overload(findings: Findings, model: str, names: Sequence[str]) -> Table:
    """More than can be answered: a row for each server and load."""
    table = Table(title=f"{model}: overload, per second and in ms", title_justify="left")
    table.add_column("", no_wrap=True)
    columns = ("load", "asked", "good", "p99", "late", "refused", "refused p99", "failed")
    for column in columns:
        table.add_column(column, justify="right")
    for name in names:
        for load in (OVER, FAR_OVER):
            one = findings.median(model, name, load)
            if one:
                table.add_row(
                    name,
                    load.name,
                    f"{one.asked_per_s:,.0f}",
                    f"{one.requests_per_s:,.0f}",
                    f"{one.p99_ms:,.1f}",
                    f"{one.late_per_s:,.0f}",
                    f"{one.refused_per_s:,.0f}",
                    f"{one.refused_p99_ms:,.1f}",
                    f"{one.failed or ''}",
                )
    return table


def limits(findings: Findings, model: str, names: Sequence[str]) -> Table:
    """What no server passes: images a second by processes and rows, and one alone."""
    title = f"{model}: limits, images/s by processes and rows"
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for load in (ALONE, *TOGETHER):
        table.add_column(load.name + (" (p50 ms)" if load == ALONE else ""), justify="right")
    for name in names:
        found = {load: findings.median(model, name, load) for load in (ALONE, *TOGETHER)}
        if any(found.values()):
            cells = [f"{one.images_per_s:,.0f}" if one else "" for one in found.values()]
            alone = found[ALONE]
            cells[0] += f" ({alone.p50_ms:.2f})" if alone else ""
            table.add_row(name, *cells)
    return table


def requirements(model: str, found: Sequence[Verdict]) -> Table:
    """Each requirement, met or not."""
    met = sum(one.met for one in found)
    table = Table(title=f"{model}: {met} of {len(found)} requirements met", title_justify="left")
    for column in ("requirement", "", "ours", "", "bar", "against"):
        numeric = column in ("ours", "bar")
        table.add_column(column, justify="right" if numeric else "left", no_wrap=numeric)
    for one in found:
        sign = "<=" if one.at_most else ">="
        digits = 0 if one.unit == "/s" else 2
        ours, bar = f"{one.ours:,.{digits}f} {one.unit}", f"{one.bar:,.{digits}f} {one.unit}"
        table.add_row(one.requirement, "pass" if one.met else "FAIL", ours, sign, bar, one.against)
    return table
