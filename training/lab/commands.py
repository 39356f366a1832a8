"""``ganymede lab``: small experiments whose answer is known."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from training.errors import ConfigError
from training.lab.experiments import EXPERIMENTS
from training.lab.finding import Cell, Finding

OUT = Path("runs/lab")
WIDTH = 120  # of a table that goes into a file


def lab(
    name: Annotated[str | None, typer.Argument(help="An experiment; none: list them.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Where chance has a say.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the figure and the JSON.")] = OUT,
) -> None:
    """Run an experiment: a table here, a figure and the numbers in a folder."""
    if name is None:
        _list()
        return
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name, EXPERIMENTS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(EXPERIMENTS)}"
        raise ConfigError(f"there is no experiment {name!r}{hint}")
    experiment = EXPERIMENTS[name]
    if seeds > 1 and not experiment.seeded:
        raise ConfigError(f"chance has no say in {name}: leave --seeds out")
    with Console(stderr=True).status(f"{name}: {experiment.takes}"):
        finding = experiment.run(seeds)
    _show(finding)
    for path in finding.write(out, name):
        typer.echo(path)


def _list() -> None:
    table = Table("experiment", "shows", "takes", box=SIMPLE_HEAD)
    for name, experiment in EXPERIMENTS.items():
        table.add_row(name, experiment.about, experiment.takes)
    Console().print(table)


def _show(finding: Finding) -> None:
    table = Table(*finding.rows[0], box=SIMPLE_HEAD)
    for row in finding.rows:
        table.add_row(*map(_text, row.values()))
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(finding.claim, style="bold", highlight=False, markup=False)
    console.print(table)
    console.print(finding.protocol, highlight=False, markup=False)


def _text(cell: Cell) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
