"""How good are the pictures of a bundle, and of every fast preset?

``python -m bench.quality BUNDLE`` scores one, the starter by default, as ``ganymede evaluate``
does, against targets; ``--train PRESET`` trains and exports a new one first, and says how long.
The exit status is 1 when a target is missed or the judge is too weak. ``--all`` trains and measures
every fast preset (``every.py``) and writes the table in RESULTS.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bench.command import BenchError, console, run
from bench.every import RESULTS, run_all
from bench.measures import Budget
from bench.progress import shown
from bench.result import Result
from export.bundle import Bundle, load_bundle
from export.catalogue import find
from export.evaluate import Wanted, evaluate, void
from export.manifest import Quality
from export.scoring import SAMPLES

STARTER = "fashion"
AT_ONCE = max(1, min(2, os.cpu_count() or 1))


@dataclass(frozen=True)
class Target:
    """The least value of a metric: ``least``, plus shares of the reference where given."""

    metric: str
    least: float = 0.0
    of_reference: float = 0.0

    def limit(self, figure: Quality) -> float:
        """The value that must be reached."""
        return self.least + self.of_reference * (figure.reference or 0.0)


TARGETS = {
    "cgan-fashion-fast": (
        Target("label agreement", 0.90),
        Target("GAN-train", 0.80),
        Target("coverage", of_reference=0.5),
    ),
    "cgan-fashion-good": (
        Target("label agreement", -0.02, of_reference=1.0),
        Target("GAN-train", 0.84),
    ),
}


@dataclass(frozen=True)
class Trained:
    """A preset that was trained and exported just now."""

    run: Path
    bundle: Path
    train_minutes: float
    export_minutes: float


def train_preset(preset: str) -> Trained:
    """Train and export by the commands that a user has; the bundle goes to ``models/``."""
    started = time.monotonic()
    run_path = _ganymede("train", preset)
    trained = time.monotonic()
    bundle = _ganymede("export", run_path, "--name", Path(preset).stem)
    return Trained(
        run=Path(run_path),
        bundle=Path(bundle),
        train_minutes=(trained - started) / 60,
        export_minutes=(time.monotonic() - trained) / 60,
    )


def _ganymede(*arguments: str) -> str:
    """The last line that a command prints: the path of what it made."""
    command = [sys.executable, "-m", "ganymede", *arguments]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return answer.stdout.strip().splitlines()[-1]


def verdict(figure: Quality, targets: tuple[Target, ...]) -> dict[str, Any]:
    """A figure as JSON, with its target where it has one."""
    limits = [target.limit(figure) for target in targets if target.metric == figure.metric]
    row = figure.model_dump()
    if limits:
        row |= {"target": max(limits), "passed": figure.value >= max(limits)}
    return row


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    """The figures, one a row."""
    shown_table = Table(title=title, title_justify="left")
    for name in ("metric", "this", "real", "target", "", "samples"):
        shown_table.add_column(name, justify="left" if name in ("metric", "") else "right")
    for row in rows:
        target = f"{row['target']:.3f}" if "target" in row else ""
        mark = ("pass" if row["passed"] else "MISSED") if "target" in row else ""
        real = "" if row["reference"] is None else f"{row['reference']:.3f}"
        shown_table.add_row(
            row["metric"], f"{row['value']:.3f}", real, target, mark, f"{row['samples']:,}"
        )
    return shown_table


def main(
    bundle: Annotated[
        str, typer.Argument(help="A bundle's path, or a name in models/ or of the starter.")
    ] = STARTER,
    train: Annotated[str | None, typer.Option(help="Train and export this preset first.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Compare with this data set, not the one learnt from.")
    ] = None,
    samples: Annotated[int, typer.Option(min=100, help="Of a generator.")] = SAMPLES,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every fast preset, into the table.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="With --all: this entry alone.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="With --all: of what has several.")] = 1,
    settings: Annotated[list[str] | None, typer.Option("--set", help="With --all.")] = None,
    out: Annotated[Path, typer.Option(help="With --all: runs, and what was measured.")] = Path(
        "runs/quality"
    ),
    results: Annotated[Path, typer.Option(help="With --all: the file of the table.")] = RESULTS,
    at_once: Annotated[int, typer.Option(min=1, help="With --all: processes.")] = AT_ONCE,
) -> None:
    """Score a bundle, or every fast preset."""
    if every:
        budget = Budget(tuple(settings or ()), samples, seeds)
        raise typer.Exit(1 if run_all(out, only or (), budget, results, at_once) else 0)
    if train and bundle != STARTER:
        raise BenchError("give a bundle, or --train PRESET, not both")
    trained = train_preset(train) if train else None
    path = trained.bundle if trained else find(bundle, _folders())
    opened = load_bundle(path)
    result = Result("quality", bundle=_describe(opened))
    if trained:
        minutes = {"train": trained.train_minutes, "export": trained.export_minutes}
        result.update(run=trained.run.name, minutes=minutes)
    rows: list[dict[str, Any]] = []
    try:
        _measure(opened, Wanted(data, samples=samples), result, rows)
    except KeyboardInterrupt:
        print("interrupted: what follows was measured before", file=sys.stderr)
    _tell(result, rows)
    result.write(json)
    missed = any(not row.get("passed", True) for row in rows)
    if missed or not result.facts["complete"] or result.facts.get("void"):
        raise typer.Exit(1)


def _measure(bundle: Bundle, wanted: Wanted, result: Result, rows: list[dict[str, Any]]) -> None:
    made = bundle.manifest.provenance
    targets = TARGETS.get(made.preset if made else "", ())
    result.update(figures=rows)
    figures = []
    with shown() as progress:
        for figure in evaluate(bundle, wanted, progress):
            figures.append(figure)
            rows.append(verdict(figure, targets))
            result.update(void=void(figures))
    result.update(complete=True)


def _folders() -> list[Path]:
    return [Path("models"), Path(__file__).parent.parent / "deploy" / "starter"]


def _describe(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    provenance = manifest.provenance
    return {
        "name": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
        "provenance": provenance.model_dump() if provenance else None,
    }


def _tell(result: Result, rows: list[dict[str, Any]]) -> None:
    output, facts = console(), result.facts
    about = facts["bundle"]
    title = f"{about['name']} {about['version']}"
    if provenance := about["provenance"]:
        title += f", preset {provenance['preset']}"
        if provenance["images_seen"] is not None:
            title += f", {provenance['images_seen'] / 1000:,.0f} kimg"
    if "minutes" in facts:
        title += f", trained in {facts['minutes']['train']:.1f} minutes"
    output.print(table(title, rows))
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        names = ", ".join(row["metric"] for row in rows if row["protocol"] == protocol)
        output.print(f"{names}: {protocol}", markup=False, soft_wrap=True)
    if facts.get("void"):
        output.print(facts["void"], style="bold red", markup=False)


if __name__ == "__main__":
    run(main)
