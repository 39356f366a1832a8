"""Does the energy of an EBGAN tell unusual pictures?

``python -m bench.anomaly PROTOCOL`` asks it in one of four ways (``anomaly_trials.py``). In each
trial the preset learns from normal pictures, and its energy is asked to separate other normal ones
from anomalous ones. Beside it, on the same pictures in the same run: the same autoencoder without
its adversary, which says what the game adds; and PCA with as many numbers as the preset's code, by
its squared error, which is the baseline, and by the preset's own energy, which says how much of a
gain is the energy's. The exit status is 1 when the mean does not beat the baseline.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.table import Table

from bench.anomaly_trials import PROTOCOLS, Protocol, Trial
from bench.command import BenchError, console, run
from bench.progress import shown
from bench.result import Result
from training.config import RunConfig, load_preset
from training.data.batches import Batches, to_batch
from training.data.dataset import Dataset
from training.data.named import digits
from training.losses import ENERGIES
from training.metrics.principal import principal_axes, remade, rows_of
from training.precision import flushed_denormals
from training.recipe import Shape
from training.recipes import SYSTEMS
from training.recipes.ebgan import EBGAN
from training.train import begin
from training.trainer import fit

PRESET = "ebgan-mnist-fast"
CHUNK = 500

Scores = NDArray[np.float64]
Energy = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def without_adversary(config: RunConfig) -> RunConfig:
    """The same preset, whose autoencoder learns alone to the end."""
    alone = config.recipe.model_copy(update={"pretrain_kimg": config.schedule.kimg})
    return config.model_copy(update={"recipe": alone})


@flushed_denormals()
def learnt(config: RunConfig, normal: Dataset, seed: int) -> EBGAN:
    """The pair after a run of the preset on the normal images."""
    torch.manual_seed(seed)
    shape = Shape(normal.images.shape[3], normal.images.shape[1])
    recipe = next(SYSTEMS["ebgan"].stages(config.recipe, shape))
    schedule = config.schedule
    batches = Batches(normal, schedule.batch, seed)
    state = begin(recipe, schedule.ema_kimg, 0, batches.device)
    for _ in fit(state, batches, schedule, Fabric(accelerator="cpu", devices=1)):
        pass  # what a tick says is not needed
    return cast(EBGAN, recipe.eval())


@torch.no_grad()
def energies(recipe: EBGAN, pictures: Dataset) -> Scores:
    """The energy of each picture."""
    found = []
    for start in range(0, len(pictures), CHUNK):
        batch = to_batch(pictures.images[start : start + CHUNK], None, torch.device("cpu"))
        found.append(recipe.logits(batch.x, batch).numpy())
    return np.concatenate(found).astype(np.float64)


def residuals(normal: Dataset, pictures: Dataset, numbers: int, energy: Energy) -> Scores:
    """The distance of each picture from what PCA of the normal ones makes of it again."""
    axes, images = principal_axes(normal.images, numbers), pictures.images
    asked, made = (torch.from_numpy(2 * r - 1) for r in (rows_of(images), remade(axes, images)))
    return energy(asked, made).numpy().astype(np.float64)


def measure(
    config: RunConfig,
    protocol: Protocol,
    trials: Iterator[Trial],
    seeds: list[int],
    *,
    alone: bool = True,
) -> Iterator[dict[str, Any]]:
    """A row per question: the figure of each seed, of PCA, and if ``alone`` without adversary."""
    recipe: Any = config.recipe
    for trial in trials:
        with_it = [learnt(config, trial.normal, seed) for seed in seeds]
        plain = without_adversary(config)
        without = [learnt(plain, trial.normal, seed) for seed in seeds] if alone else []
        for name, question in trial.questions.items():

            def figure(scores: Scores, anomalous: Any = question.anomalous) -> float:  # noqa: ANN401
                return float(protocol.score(anomalous, scores))

            squared, own = (
                figure(residuals(trial.normal, question.asked, recipe.code, ENERGIES[energy]))
                for energy in ("l2", recipe.energy)
            )
            yield {
                "question": name,
                "images": len(trial.normal),
                "asked": len(question.asked),
                "ebgan": [figure(energies(pair, question.asked)) for pair in with_it],
                "alone": [figure(energies(pair, question.asked)) for pair in without],
                "pca": squared,
                "pca_own_energy": own,
            }


def table(rows: list[dict[str, Any]], protocol: Protocol, numbers: int, energy: str) -> Table:
    """A row per question and their mean; what loses to the baseline stays in it."""
    names = ("", "EBGAN", "worst seed", "best seed", "no adversary")
    drawn = Table(title=f"{protocol.metric}: {protocol.about}", title_justify="left")
    for name in (*names, f"PCA-{numbers}", f"PCA-{numbers}, {energy}", "", *protocol.published):
        drawn.add_column(name, justify="right")
    for row in rows:
        theirs = (by_name.get(row["question"], "") for by_name in protocol.published.values())
        drawn.add_row(*_cells(row), *theirs)
    seeds = {
        who: [statistics.mean(run) for run in zip(*(row[who] for row in rows), strict=True)]
        for who in ("ebgan", "alone")
    }
    means = {who: statistics.mean(row[who] for row in rows) for who in ("pca", "pca_own_energy")}
    drawn.add_section()
    drawn.add_row(*_cells({"question": "mean", **seeds, **means}))
    return drawn


def _cells(row: dict[str, Any]) -> list[str]:
    found, alone = row["ebgan"], statistics.mean(row["alone"])
    mean = statistics.mean(found)
    numbers = (mean, min(found), max(found), alone, row["pca"], row["pca_own_energy"])
    verdict = "wins" if mean > row["pca"] else "LOSES"
    return [row["question"], *(f"{number:.4f}" for number in numbers), verdict]


def main(
    protocol: Annotated[
        str, typer.Argument(help=f"One of {', '.join(PROTOCOLS)}.", metavar="PROTOCOL")
    ] = "one-class",
    source: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="A data set with classes and a test split; all of MNIST where it is, else 5,000.",
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="Of the system ebgan.")] = PRESET,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each trial.")] = 3,
    classes: Annotated[str, typer.Option(help="By index, those whose turn comes.")] = "0123456789",
    settings: Annotated[list[str] | None, typer.Option("--set", help="As in training.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Learn what is normal, and tell what is not."""
    config = load_preset(preset, settings or [])
    recipe: Any = config.recipe
    if recipe.system != "ebgan" or not recipe.code:
        raise BenchError(
            f"{preset} must be of the system ebgan, and have a code: PCA gets its size"
        )
    if protocol not in PROTOCOLS:
        raise BenchError(f"there is no protocol {protocol!r}; there are: {', '.join(PROTOCOLS)}")
    asked = PROTOCOLS[protocol]
    source = source or digits()
    trials = asked.trials(source, config.data.size, [int(label) for label in classes])
    result = Result(
        "anomaly",
        protocol=protocol,
        data=source,
        preset=config.model_dump(mode="json"),
        seeds=seeds,
    )
    rows: list[dict[str, Any]] = []
    with shown() as progress:
        for row in measure(config, asked, trials, list(range(seeds))):
            rows.append(row)
            progress(row["question"], 1, 1)
            result.update(figures=rows)
            result.write(json)
    result.update(complete=True)
    result.write(json)
    console().print(table(rows, asked, recipe.code, recipe.energy))
    found, baseline = (np.mean([row[name] for row in rows]) for name in ("ebgan", "pca"))
    if found <= baseline:
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
