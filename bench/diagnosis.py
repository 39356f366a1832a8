"""Are the verdicts of ``ganymede diagnose`` right? Runs that are made to fail, and healthy ones.

``python -m bench.diagnosis`` trains each of ``failing.CASES`` with several seeds, diagnoses it, and
prints a confusion table: what a run was made to be, and what was said. The exit status is 1 when a
verdict is wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from bench.command import BenchError, console, run
from bench.failing import CASES
from bench.failing import run as train_case
from bench.progress import shown
from bench.result import Result
from training.diagnose.diagnosis import diagnose
from training.diagnose.verdicts import HEALTHY, VERDICTS

NAMES = (*(verdict.name for verdict in VERDICTS), HEALTHY)

Row = dict[str, Any]


def measure(name: str, seed: int) -> Row:
    """Train a case, diagnose it, and tell both verdicts and the numbers."""
    with tempfile.TemporaryDirectory() as folder:
        record = diagnose(train_case(CASES[name], Path(folder) / "case", seed)).record
    return {
        "case": name,
        "seed": seed,
        "made": CASES[name].expected,
        "said": record.verdict,
        "findings": [finding.verdict for finding in record.findings],
        "metrics": {key: metric.value for key, metric in record.metrics.items()},
    }


def confusion(rows: Sequence[Row]) -> Table:
    """What was made against what was said, in runs."""
    table = Table("made to be", *NAMES, "runs", title="said to be")
    for made in NAMES:
        said = [row["said"] for row in rows if row["made"] == made]
        if said:
            table.add_row(made, *(f"{said.count(name) or ''}" for name in NAMES), f"{len(said)}")
    return table


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each case.")] = 5,
    first_seed: Annotated[int, typer.Option(min=0, help="Seeds 0 and 1 chose the limits.")] = 0,
    case: Annotated[list[str] | None, typer.Option(help="These alone.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Train the cases, diagnose them, and count."""
    unknown = set(case or ()) - CASES.keys()
    if unknown:
        raise BenchError(f"no case {min(unknown)!r}; there are: {', '.join(CASES)}")
    torch.set_num_threads(1)
    todo = [
        (name, seed) for name in case or CASES for seed in range(first_seed, first_seed + seeds)
    ]
    result, rows = Result("diagnosis", first_seed=first_seed, seeds=seeds), list[Row]()
    with shown() as progress:
        for name, seed in todo:
            rows.append(measure(name, seed))
            progress("runs", len(rows), len(todo))
            result.update(figures=rows)
            result.write(json)
    result.update(complete=True)
    result.write(json)
    console().print(confusion(rows))
    wrong = [row for row in rows if row["made"] != row["said"]]
    for row in wrong:
        console().print(f"{row['case']}, seed {row['seed']}: {', '.join(row['findings'])}")
    if wrong:
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
