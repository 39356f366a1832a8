"""Does the energy of an EBGAN tell unusual pictures? One digit is normal, nine are anomalous.

``python -m bench.anomaly`` trains the preset on the training images of one digit after the other,
and asks how well the energy separates that digit's test images from those of all the others. PCA
with as many numbers as the preset's code stands beside it, fitted on the same images in the same
run: by its squared error, which is the baseline, and by the preset's own energy, which says how
much of a gain is the energy's and how much the network's. The exit status is 1 when the mean over
the digits does not beat the baseline.
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
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from bench.command import BenchError, console, run
from bench.progress import shown
from bench.result import Result
from training import data
from training.config import RunConfig, load_preset
from training.data.batches import Batches, to_batch
from training.data.dataset import Dataset
from training.losses import ENERGIES
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


def of_class(images: Dataset, label: int) -> Dataset:
    """The images of one class alone."""
    assert images.labels is not None
    return Dataset(
        name=f"{images.name}, {images.classes[label]}",
        licence=images.licence,
        attribution=images.attribution,
        classes=(),
        images=images.images[images.labels == label],
        labels=None,
        fingerprint="",
    )


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


def flat(images: Dataset) -> NDArray[np.float64]:
    """The pictures as rows in [-1, 1]."""
    return images.images.reshape(len(images), -1) / 127.5 - 1


def residuals(normal: Dataset, pictures: Dataset, numbers: int, energy: Energy) -> Scores:
    """The distance of each picture from what PCA of the normal ones makes of it again."""
    axes, asked = PCA(numbers, svd_solver="full").fit(flat(normal)), flat(pictures)
    made = axes.inverse_transform(axes.transform(asked))
    return energy(torch.from_numpy(asked), torch.from_numpy(made)).numpy().astype(np.float64)


def measure(
    config: RunConfig, known: Dataset, asked: Dataset, digits: list[int], seeds: list[int]
) -> Iterator[dict[str, Any]]:
    """A row per normal digit: the AUROC of each seed, and of the two baselines."""
    recipe: Any = config.recipe
    for digit in digits:
        normal = of_class(known, digit)
        anomalous = asked.labels != digit

        def auroc(scores: Scores, anomalous: Any = anomalous) -> float:  # noqa: ANN401
            return float(roc_auc_score(anomalous, scores))

        squared, own = (
            auroc(residuals(normal, asked, recipe.code, ENERGIES[name]))
            for name in ("l2", recipe.energy)
        )
        found = [auroc(energies(learnt(config, normal, seed), asked)) for seed in seeds]
        yield {
            "normal": known.classes[digit],
            "images": len(normal),
            "ebgan": found,
            "pca": squared,
            "pca_own_energy": own,
        }


def table(rows: list[dict[str, Any]], numbers: int, energy: str) -> Table:
    """A row per digit and their mean; what loses to the baseline stays in it."""
    names = ("normal", "EBGAN", "worst seed", "best seed", f"PCA-{numbers}")
    shown_table = Table(title="AUROC, one class normal", title_justify="left")
    for name in (*names, f"PCA-{numbers}, {energy}", ""):
        shown_table.add_column(name, justify="right")
    for row in rows:
        shown_table.add_row(*_cells(row["normal"], row["ebgan"], row["pca"], row["pca_own_energy"]))
    seeds = [statistics.mean(run) for run in zip(*(row["ebgan"] for row in rows), strict=True)]
    means = [statistics.mean(row[name] for row in rows) for name in ("pca", "pca_own_energy")]
    shown_table.add_section()
    shown_table.add_row(*_cells("mean", seeds, *means))
    return shown_table


def _cells(name: str, found: list[float], pca: float, own: float) -> list[str]:
    mean = statistics.mean(found)
    numbers = (mean, min(found), max(found), pca, own)
    return [name, *(f"{number:.4f}" for number in numbers), "wins" if mean > pca else "LOSES"]


def main(
    source: Annotated[
        str, typer.Option("--data", help="A data set with classes and a test split.")
    ] = "mnist-5k",
    preset: Annotated[str, typer.Option(help="Of the system ebgan.")] = PRESET,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each digit.")] = 3,
    digits: Annotated[str, typer.Option(help="Those that are normal in turn.")] = "0123456789",
    settings: Annotated[list[str] | None, typer.Option("--set", help="As in training.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Train on each digit alone and separate it from the others."""
    config = load_preset(preset, settings or [])
    recipe: Any = config.recipe
    if recipe.system != "ebgan" or not recipe.code:
        raise BenchError(
            f"{preset} must be of the system ebgan, and have a code: PCA gets its size"
        )
    known, asked = (
        data.load(source, split=part, size=config.data.size) for part in ("train", "test")
    )
    chosen = [int(digit) for digit in digits]
    result = Result("anomaly", data=source, preset=config.model_dump(mode="json"), seeds=seeds)
    rows: list[dict[str, Any]] = []
    with shown() as progress:
        for row in measure(config, known, asked, chosen, list(range(seeds))):
            rows.append(row)
            progress("digits", len(rows), len(chosen))
            result.update(figures=rows)
            result.write(json)
    result.update(complete=True)
    result.write(json)
    console().print(table(rows, recipe.code, recipe.energy))
    found, baseline = (np.mean([row[name] for row in rows]) for name in ("ebgan", "pca"))
    if found <= baseline:
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
