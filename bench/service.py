"""How fast does it answer? A closed loop against a real ``ganymede serve``, beside its limits.

JSON with base64 PNG, new seeds in every request, client and server on the same cores. Every round
starts each contender anew, one at a time, and puts all loads on it; what counts is the median of
the rounds. The limits are measured in the same run: ONNX Runtime in a loop, the same with PNG and
base64, and FastAPI with a constant body of the same size.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bench.command import BenchError, console, run
from bench.in_process import InProcess
from bench.loads import LOADS, Contender, Load, Outcome, Served, summary
from bench.progress import shown
from bench.random_models import RANDOM, serve_model
from bench.result import Result
from bench.servers import Constant, Ganymede
from training.data.progress import Progress

LIMIT = InProcess(pictures=True)
CONTENDERS: tuple[Contender, ...] = (Ganymede(), LIMIT, InProcess(pictures=False), Constant())

Outcomes = dict[tuple[str, Load, str], list[Outcome]]
"""Model, load and contender -> one outcome per round."""


def measure(
    models: Sequence[Served],
    contenders: Sequence[Contender],
    rounds: int,
    seconds: float,
    progress: Progress,
    outcomes: Outcomes,
) -> None:
    """Fill ``outcomes``; the contenders begin a round in another order each time."""
    total = rounds * len(models) * len(contenders) * len(LOADS)
    done = 0
    for number in range(rounds):
        first = number % len(contenders)
        order = [*contenders[first:], *contenders[:first]]
        for model in models:
            for contender in order:
                with contender.open(model) as attack:
                    for load in LOADS:
                        outcome = attack(load, seconds)
                        outcomes[model.name, load, contender.name].append(outcome)
                        done += 1
                        progress("measurements", done, total)


def table(model: str, rows: Sequence[dict[str, Any]]) -> Table:
    """All contenders under each load; ``limit`` is the share of the images a second of LIMIT."""
    drawn = Table(title=f"{model}: clients x images of a request", title_justify="left")
    drawn.add_column("load", no_wrap=True)
    drawn.add_column("contender", no_wrap=True)
    for name in ("requests/s", "images/s", "limit", "p50 ms", "p99 ms", "failed"):
        drawn.add_column(name, justify="right")
    for load in LOADS:
        under = [row for row in rows if row["load"]["clients"] == load.clients]
        under = [row for row in under if row["load"]["images"] == load.images]
        limit = next((row["images_per_s"] for row in under if row["contender"] == LIMIT.name), 0.0)
        for row in under:
            share = f"{row['images_per_s'] / limit:.2f}" if limit else ""
            drawn.add_row(
                load.name,
                row["contender"],
                f"{row['requests_per_s']:,.0f}",
                f"{row['images_per_s']:,.0f}",
                share,
                f"{row['p50_ms']:.2f}",
                f"{row['p99_ms']:.2f}",
                str(row["errors"] or ""),
            )
        drawn.add_section()
    return drawn


def main(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help=f"A bundle (the starter) or {', '.join(RANDOM)}; repeatable."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="The median counts: 3 or more.")] = 3,
    seconds: Annotated[int, typer.Option(min=1, help="Of each load in each round.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Measure the service."""
    names = models or ["fashion"]
    if len(set(names)) < len(names):
        raise BenchError("a model was named twice")
    result = Result("service", rounds=rounds, seconds=seconds, models=names)
    outcomes: Outcomes = defaultdict(list)
    try:
        with tempfile.TemporaryDirectory() as scratch, shown() as progress:
            served = [serve_model(name, Path(scratch)) for name in names]
            measure(served, CONTENDERS, rounds, seconds, progress, outcomes)
        result.update(complete=True)
    except KeyboardInterrupt:
        print("interrupted: what follows was measured before", file=sys.stderr)
    rows = [summary(*key, found) for key, found in outcomes.items()]
    result.update(figures=rows)
    result.write(json)
    for model in dict.fromkeys(row["model"] for row in rows):
        about = [row for row in rows if row["model"] == model]
        console().print(table(model, about))
    if not result.facts["complete"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
