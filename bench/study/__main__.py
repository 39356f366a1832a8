"""``python -m bench.study serve`` and ``report``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.table import Table

from bench.command import BenchError, console
from bench.study.app import create_app
from bench.study.figures import ModelFigures, Rate, figures
from bench.study.pictures import Album, read_album, require_alike
from bench.study.protocol import Kind, Protocol
from bench.study.store import Store

app = typer.Typer(help="A perceptual study: do people take generated pictures for real ones?")
REAL = "the real pictures"


@app.command()
def serve(
    real: Annotated[Path, typer.Option(help="Folder of real pictures.")],
    fake: Annotated[list[str], typer.Option(help="NAME=FOLDER of a model's pictures; repeat.")],
    database: Annotated[Path, typer.Option("--db", help="Where the answers go.")] = Path(
        "study.db"
    ),
    kind: Annotated[Kind, typer.Option(help="Two pictures side by side, or one.")] = "pairs",
    exposure_s: Annotated[float, typer.Option(min=0.05, help="Pictures stand so long.")] = 1.0,
    practice: Annotated[int, typer.Option(min=0, help="Trials with feedback, first.")] = 10,
    trials: Annotated[int, typer.Option(min=1, help="Trials that count.")] = 40,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 lets everybody in the network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8010,
) -> None:
    """Serve the study's page; Ctrl-C ends it, and the same command goes on with it."""
    albums = {REAL: read_album(real)} | _models(fake)
    require_alike(albums, practice + trials)
    truth = albums.pop(REAL)
    protocol = Protocol(
        kind=kind,
        exposure_ms=round(1000 * exposure_s),
        practice=practice,
        trials=trials,
        same_subject=all(album.files.keys() <= truth.files.keys() for album in albums.values()),
        real=truth.digest,
        generated={name: album.digest for name, album in albums.items()},
    )
    store = Store(database, protocol)
    subjects = "of one subject (same file names)" if protocol.same_subject else "drawn at random"
    print(f"{len(albums)} models, pictures {subjects}; answers go to {database}", flush=True)
    try:
        uvicorn.run(create_app(store, truth, albums), host=host, port=port, log_level="warning")
    finally:
        store.close()


def _models(fake: list[str]) -> dict[str, Album]:
    found: dict[str, Album] = {}
    for entry in fake:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise BenchError(f"--fake {entry}: say NAME=FOLDER")
        if name in found or name == REAL:
            raise BenchError(f"--fake {name} is given twice: choose another name")
        found[name] = read_album(Path(folder))
    return found


@app.command()
def report(
    database: Annotated[Path, typer.Argument(help="As `serve` wrote it.")],
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Tell the fooling rate of each model, from the sittings that were finished."""
    store = Store(database)
    try:
        found = figures(store)
    finally:
        store.close()
    if json:
        told = {"protocol": store.protocol.model_dump(), "models": [asdict(each) for each in found]}
        json.write_text(dumps(told, indent=1) + "\n", "utf-8")
    console().print(table(found, store.protocol))


def table(found: list[ModelFigures], protocol: Protocol) -> Table:
    """A row per model."""
    perfect = "50 % is perfect" if protocol.kind == "pairs" else "compare with real taken for fake"
    shown = Table(title=f"Fooled, 95 % interval over sittings; {perfect}", title_justify="left")
    for name in ("model", "finished", "abandoned", "trials", "left out", "fooled", "interval"):
        shown.add_column(name, justify="left" if name == "model" else "right")
    for name in ("real taken for fake", "practice right", "stood, ms"):
        shown.add_column(name, justify="right")
    for each in found:
        trials = sum(part.trials for part in (each.fooled, each.wronged) if part)
        counts = (each.finished, each.abandoned, trials, each.left_out)
        wronged = _percent(each.wronged.value) if each.wronged else "-"
        practice = "-" if each.practice is None else _percent(each.practice)
        stood = "-" if each.exposure_ms is None else f"{each.exposure_ms:.0f}"
        shown.add_row(each.name, *map(str, counts), *_cells(each.fooled), wronged, practice, stood)
    return shown


def _cells(fooled: Rate | None) -> tuple[str, str]:
    if fooled is None:
        return "-", "nobody finished"
    if fooled.interval is None:
        return _percent(fooled.value), "needs two sittings"
    low, high = fooled.interval
    return _percent(fooled.value), f"{_percent(low)} to {_percent(high)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    try:
        app()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        raise SystemExit(2) from None
