"""How fast does it answer? A real ``ganymede serve`` beside other servers and beside its limits.

Everybody serves the same ONNX graph: DCGANs with random weights, exported as any model is. Requests
and answers are JSON, pictures base64 PNG; a seed gives everybody the same pixels, which is checked
before anything is timed. Client and server share the cores. In every round each contender is
started anew, one at a time, and put under all its loads; what counts is the median of the rounds.

- Closed loops by wrk: 1, 8, 64 and 256 clients for one image each, 8 clients for 16 each. Requests
  name no seed, so that every one is new work; with ``-again`` all name the same one.
- Rates by h2load, as shares of the contender's own best closed loop: 50, 150 and 300 %. How that
  departs from an open loop is told in ``h2load.py``.
- Limits: ONNX Runtime in a loop, the same with PNG and base64, and FastAPI with a constant body.

``verdicts.py`` has what is required. The other servers get environments of their own, in the cache
folder; ``--install`` makes them and measures nothing.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer

from bench import tables
from bench.command import BenchError, console, run
from bench.in_process import InProcess
from bench.loads import Contender, Load, Unavailable
from bench.progress import shown
from bench.random_models import RANDOM, serve_model
from bench.result import Result
from bench.rivals import LITSERVE, MOSEC, RIVALS, TORCHSERVE
from bench.rounds import Findings, estimate_s, measure
from bench.servers import Constant, Ganymede, Refusing
from bench.verdicts import BARE, WITH_OURS, WITH_PILLOW, Verdict, verdicts

GANYMEDE, CONSTANT = Ganymede(), Constant()
LIMITS = (
    InProcess(BARE, "none"),
    InProcess(WITH_PILLOW, "pillow"),
    InProcess(WITH_OURS, "ours"),
)
CONTENDERS: tuple[Contender, ...] = (GANYMEDE, Refusing(), *RIVALS, *LIMITS, CONSTANT)
LOADS: tuple[Load, ...] = tuple(dict.fromkeys(load for one in CONTENDERS for load in one.loads))
SERVERS = (GANYMEDE.name, *(rival.name for rival in RIVALS), CONSTANT.name)


class Named(Protocol):
    """A contender or a load."""

    @property
    def name(self) -> str:
        """For the command line."""


N = TypeVar("N", bound=Named)


def choose(known: Sequence[N], names: Sequence[str] | None, what: str) -> tuple[N, ...]:
    """Those of ``known`` that were named, in their order; all if none was.

    Raises:
        BenchError: a name is not known.
    """
    all_names = [one.name for one in known]
    if unknown := [name for name in names or () if name not in all_names]:
        raise BenchError(f"no {what} is called {unknown[0]}: take {', '.join(all_names)}")
    return tuple(one for one in known if not names or one.name in names)


def _listed(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def judge(findings: Findings, models: Sequence[str]) -> list[Verdict]:
    """Every requirement of every model that can be judged."""
    peers = [rival.name for rival in RIVALS]
    return [
        verdict
        for model in models
        for verdict in verdicts(findings, model, peers, GANYMEDE.sizes.get(model))
    ]


def show(findings: Findings, models: Sequence[str], found: Sequence[Verdict]) -> None:
    """All tables, and what is missing from them."""
    page = console()
    for model in models:
        for table in (
            tables.servers(findings, model, SERVERS),
            tables.overload(findings, model, SERVERS),
            tables.limits(findings, model, [limit.name for limit in LIMITS]),
            tables.requirements(model, [one for one in found if one.model == model]),
        ):
            if table.row_count:
                page.print(table)
    for name, reason in findings.skipped.items():
        page.print(f"skipped {name}: {reason}", markup=False)
    for problem in findings.problems:
        page.print(f"problem: {problem}", markup=False)


def install() -> None:
    """Make the environments of the other servers, and say where they are."""
    for environment in (MOSEC, LITSERVE, TORCHSERVE):
        try:
            print(f"{environment.name}: {environment.prepare().parent}")
        except Unavailable as reason:
            print(f"{environment.name} cannot be had: {reason}")


def main(
    models: Annotated[str | None, typer.Option(help=f"Of {', '.join(RANDOM)}.")] = None,
    contenders: Annotated[
        str | None, typer.Option(help=f"Of {', '.join(one.name for one in CONTENDERS)}.")
    ] = None,
    loads: Annotated[
        str | None, typer.Option(help=f"Of {', '.join(load.name for load in LOADS)}.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="The median counts: 3 or more.")] = 3,
    seconds: Annotated[int, typer.Option(min=1, help="Of each load in each round.")] = 4,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    install_only: Annotated[
        bool, typer.Option("--install", help="Only install the other servers.")
    ] = False,
) -> None:
    """Measure the service beside others; names are separated by commas, all are taken without."""
    if install_only:
        install()
        return
    names = _listed(models) or list(RANDOM)
    if unknown := [name for name in names if name not in RANDOM]:
        raise BenchError(f"no model is called {unknown[0]}: take {', '.join(RANDOM)}")
    chosen = choose(CONTENDERS, _listed(contenders), "contender")
    under = choose(LOADS, _listed(loads), "load")
    minutes = estimate_s(len(names), chosen, under, rounds, seconds) / 60
    print(f"about {minutes:.0f} minutes", file=sys.stderr)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what runs is ended
    result = Result("service", rounds=rounds, seconds=seconds, models=names)
    findings = Findings()
    try:
        with tempfile.TemporaryDirectory() as scratch, shown() as progress:
            served = [serve_model(name, Path(scratch)) for name in names]
            measure(served, chosen, under, rounds, seconds, progress, findings)
        result.update(complete=not findings.problems)
    except KeyboardInterrupt:
        print("interrupted: what follows was measured before", file=sys.stderr)
    judged = judge(findings, names)
    result.update(
        verdicts=[asdict(one) | {"met": one.met} for one in judged],
        figures=findings.rows(),
        skipped=findings.skipped,
        problems=findings.problems,
        constant_workers=CONSTANT.workers,
    )
    result.write(json)
    show(findings, names, judged)
    if not result.facts["complete"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
