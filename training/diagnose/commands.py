"""``ganymede diagnose``: what became of a run, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.diagnose.diagnosis import diagnose as examine
from training.diagnose.page import write_diagnosis
from training.diagnose.record import Record
from training.run import Run

WIDTH = 120  # of a table that goes into a file


def diagnose(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    samples: Annotated[int, typer.Option(min=50, max=50_000, help="Pictures to look at.")] = 1000,
) -> None:
    """Tell what became of a run; the page's path is the one line on standard output."""
    with Console(stderr=True).status("reading") as status:
        diagnosis = examine(run, samples, status.update)
        status.update("drawing figures")
        page = write_diagnosis(Run.open(run), diagnosis)
    _show(diagnosis.record)
    typer.echo(page)


def _show(record: Record) -> None:
    console = Console(stderr=True)
    console = console if console.is_terminal else Console(stderr=True, width=WIDTH)
    for finding in record.findings:
        console.print(Text(finding.verdict, style="bold"))
        for line in finding.because:
            console.print(Text(f"  {line}"))
        for line in finding.advice:
            console.print(Text(f"  - {line}"))
    table = Table("", "value", "real pictures", "what it is", box=SIMPLE_HEAD)
    for name, metric in record.metrics.items():
        reference = "" if metric.reference is None else f"{metric.reference:.3g}"
        table.add_row(*map(Text, (name, f"{metric.value:.3g}", reference, metric.protocol)))
    console.print(table)
