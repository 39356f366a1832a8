"""``ganymede evaluate``: how good is a run or a bundle, in figures that say what they are."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from export.bundle import Bundle
from export.catalogue import find
from export.commands import Folders, Version
from export.errors import InvalidChoice, NotWritable
from export.evaluate import FEATURES, Wanted, evaluate, opened, record, void
from export.manifest import Quality
from export.scoring import SAMPLES
from training.data.progress import progress_bars


def command(
    source: Annotated[str, typer.Argument(help="A run folder, a bundle's path or a model's name.")],
    data: Annotated[
        str | None, typer.Option(help="A data set's name or path; by default what it learnt from.")
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option(help=f"Repeat for more: {FEATURES}. By default the judge.")
    ] = None,
    samples: Annotated[int, typer.Option(min=20, help="Of a generator.")] = SAMPLES,
    against: Annotated[
        str | None, typer.Option(help="Data that a score is to tell from the other.")
    ] = None,
    pairing: Annotated[
        str | None,
        typer.Option(
            metavar="WORD_OR_PATH",
            help="What each picture is to be translated from, as in training; by default as it "
            "learnt.",
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Into the bundle's manifest: /models/NAME shows them.")
    ] = False,
    version: Version = None,
    folders: Folders = None,
) -> None:
    """Measure a run or a bundle: distances, variety, what its labels, codes or scores are worth."""
    places = list(folders or [Path("models")])
    if write and (Path(source) / "config.yaml").is_file():
        raise InvalidChoice(f"{source} is a run: export it, and --write into its bundle")
    wanted = Wanted(data, tuple(features or ()), samples, against, pairing)
    console, figures, whole = Console(stderr=True), list[Quality](), False
    with opened(source, places, version, lambda step: console.print(step, style="dim")) as bundle:
        try:
            with progress_bars() as progress:
                for figure in evaluate(bundle, wanted, progress):
                    figures.append(figure)
            whole = True
        except KeyboardInterrupt:
            print("interrupted: what follows was measured before", file=sys.stderr)
        _tell(source, bundle, figures)
        _save(json, bundle, figures, whole)
    if write and whole:
        record(Bundle(find(source, places, version), bundle.manifest, bundle.digest), figures)
    if not whole:
        raise typer.Exit(130)


def _tell(source: str, bundle: Bundle, figures: Sequence[Quality]) -> None:
    output = Console(width=max(100, Console().width), highlight=False)
    made = bundle.manifest.provenance
    title = f"{source}, preset {made.preset}" if made and made.preset else source
    output.print(title, markup=False, soft_wrap=True)
    output.print(figures_table(figures))
    for protocol in dict.fromkeys(figure.protocol for figure in figures):
        names = ", ".join(one.metric for one in figures if one.protocol == protocol)
        output.print(f"{names}: {protocol}", markup=False, soft_wrap=True)
    if why := void(figures):
        output.print(why, style="bold red", markup=False)


def figures_table(figures: Sequence[Quality]) -> Table:
    """A figure a row, beside what its protocol compares it with."""
    table = Table()
    table.add_column("metric", no_wrap=True)
    for name in ("this", "reference", "samples"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in figures:
        spread = "" if one.spread is None else f" ± {one.spread:.2g}"
        reference = "" if one.reference is None else f"{one.reference:.4g}"
        table.add_row(one.metric, f"{one.value:.4g}{spread}", reference, f"{one.samples:,}")
    return table


def _save(path: Path | None, bundle: Bundle, figures: Sequence[Quality], whole: bool) -> None:
    if path is None:
        return
    manifest = bundle.manifest
    made = manifest.provenance
    facts = {
        "complete": whole,
        "name": manifest.name,
        "digest": bundle.digest,
        "provenance": made.model_dump(mode="json") if made else None,
        "figures": [figure.model_dump() for figure in figures],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json_module.dumps(facts, indent=1) + "\n")
    except OSError as error:
        raise NotWritable(f"cannot write {path}: {error.strerror or error}") from error
