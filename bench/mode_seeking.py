"""What mode seeking buys, and what it costs: a conditional preset at some weights of the term.

    python -m bench.mode_seeking cgan-fashion-fast --out FOLDER

Each weight is a training of its own from the same seed, then ``ganymede evaluate``'s figures of
variety (distances within a class, a text or a source, NDB, JSD) beside those of quality. With a
weight, a step draws two pictures for each label, so that it costs more for the same images seen:
the control, a weight that is next to nothing, has the same two draws and no term.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.command import console, run
from bench.measures import Budget, trained
from bench.progress import shown
from bench.result import Result
from export.evaluate import Wanted, evaluate, opened
from training.data.progress import Progress

CONTROL = 1e-9
WEIGHTS = (0.0, CONTROL, 0.1, 1.0)
METRICS = (  # those that there are: of a generator of classes or of texts, or of a translator
    "diversity within classes",
    "diversity within texts",
    "diversity within sources",
    "LPIPS within classes",
    "LPIPS within texts",
    "LPIPS within sources",
    "pixel deviation",
    "NDB",
    "JSD",
    "FD-judge",
    "KD-judge",
    "FD-lite0",
    "coverage",
    "label agreement",
    "GAN-train",
    "L1",
    "KD-lite0",
)

Row = dict[str, Any]


def weigh(preset: str, weight: float, folder: Path, budget: Budget, progress: Progress) -> Row:
    """Train with a weight, or go on with that training, and measure."""
    settings = (*budget.settings, f"recipe.mode_seeking={weight:.10f}")
    place = folder / f"weight-{weight:g}"
    own = Budget(settings, budget.samples, budget.seeds)
    path, minutes = trained(preset, place, own)
    with opened(str(path), [], None, lambda step: None) as bundle:
        figures = list(evaluate(bundle, Wanted(samples=budget.samples), progress))
    found = {figure.metric: figure.model_dump() for figure in figures}
    return {"weight": weight, "minutes": minutes, "figures": found}


def as_markdown(rows: Sequence[Row]) -> str:
    """A row for each weight, and one for real pictures."""
    metrics = [metric for metric in METRICS if metric in rows[0]["figures"]]
    lines = [("weight", "minutes", *metrics), ("---",) * (len(metrics) + 2)]
    for row in rows:
        name = "two draws, no term" if row["weight"] == CONTROL else f"{row['weight']:g}"
        lines.append((name, f"{row['minutes']:.1f}", *_cells(row, metrics, "value")))
    lines.append(("real", "", *_cells(rows[0], metrics, "reference")))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row, metrics: Sequence[str], which: str) -> list[str]:
    found = (row["figures"].get(metric, {}).get(which) for metric in metrics)
    return ["" if value is None else f"{value:.4g}" for value in found]


def main(
    preset: Annotated[str, typer.Argument(help="Of a conditional system.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs; a second call goes on there.")],
    weights: Annotated[list[float] | None, typer.Option("--weight")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    samples: Annotated[int, typer.Option(min=200)] = Budget().samples,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Train and measure a preset at some weights of mode seeking."""
    budget, rows = Budget(tuple(settings or ()), samples), list[Row]()
    result = Result("mode seeking", preset=preset, settings=budget.settings, rows=rows)
    with shown() as progress:
        for weight in weights or WEIGHTS:
            rows.append(weigh(preset, weight, out, budget, progress))
            result.write(json)
    result.update(complete=True)
    result.write(json)
    console().print(as_markdown(rows), markup=False, soft_wrap=True)


if __name__ == "__main__":
    run(main)
