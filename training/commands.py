"""``ganymede train``, ``resume`` and ``estimate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.config import load_config, load_preset, preset_names
from training.errors import ConfigError
from training.estimate import estimate as measure
from training.launch import together
from training.processes import leads
from training.progress import ProgressBar
from training.run import Run, new_run_path
from training.stopping import Stop, parse_duration
from training.train import resume as resume_run
from training.train import train as train_run

Setting = Annotated[
    list[str] | None, typer.Option("--set", help="A setting over the preset: schedule.kimg=200.")
]
Budget = Annotated[str | None, typer.Option(help="Stop cleanly after this long: 90s, 10m, 1.5h.")]

Processes = Annotated[
    int | None,
    typer.Option(min=1, help="Processes that share each batch, here; several machines: torchrun."),
]


def train(
    preset: Annotated[
        str | None, typer.Argument(help="A preset, or a YAML file; none: list the presets.")
    ] = None,
    settings: Setting = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default the next in runs/.")
    ] = None,
    time_budget: Budget = None,
    processes: Processes = None,
) -> None:
    """Train a preset; the run folder's path is the one line on standard output."""
    if preset is None:
        raise ConfigError("say which preset to train; there are: " + ", ".join(preset_names()))
    config = load_preset(preset, settings or ())
    path = out or new_run_path(config.preset, Path("runs"))
    budget_s = parse_duration(time_budget)
    with together(processes):
        with Stop(budget_s) as stop, ProgressBar(path.name) as bar:
            finished = train_run(config, path, bar, stop)
        _tell(path, finished, stop)


def resume(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    time_budget: Budget = None,
    processes: Processes = None,
) -> None:
    """Go on with a run from its newest checkpoint."""
    budget_s = parse_duration(time_budget)
    with together(processes):
        with Stop(budget_s) as stop, ProgressBar(run.name) as bar:
            finished = resume_run(run, bar, stop)
        _tell(run, finished, stop)


def estimate(
    preset: Annotated[str, typer.Argument(help="A preset, a YAML file, or a run folder.")],
    settings: Setting = None,
) -> None:
    """Tell how long a preset will take here, from a few real steps."""
    path = Path(preset)
    if path.is_dir():
        if settings:
            raise ConfigError("a run's settings are fixed: estimate its preset, with --set")
        config = load_config(Run.open(path).config_path)
    else:
        config = load_preset(preset, settings or ())
    with Console(stderr=True).status("timing a few steps"):
        result = measure(config)
    typer.echo(
        f"{config.preset}: {result.stages} x {result.steps:,} steps of {config.schedule.batch} "
        f"images, {result.step_s * 1000:,.0f} ms each in {result.precision}: about "
        f"{_duration(result.total_s)}; {result.parameters:,} parameters learn"
    )


def _tell(path: Path, finished: bool, stop: Stop) -> None:
    if not leads():
        return
    if finished:
        told = f"Done: {path}/report.html. Next: ganymede export {path} --name NAME"
    else:
        why = stop.reason or "another of its processes was told to stop"
        told = f"Stopped and saved, because {why}. Go on with: ganymede resume {path}"
    typer.echo(told, err=True)
    typer.echo(path)
    if not finished:
        raise typer.Exit(stop.status)  # `run=$(ganymede train ...) && ...` goes no further


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
