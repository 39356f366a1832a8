"""FCN-score: does a segmenter of real photographs see in a translated one what its map says?

``python -m bench.fcn RUN`` asks it of a trained translator from maps to pictures, on the test split
of what it learnt from: ``streets``, or any labelled pairs of one's own (a map is a picture with one
colour for each class). Isola et al. 2017 (arXiv:1611.07004), section 3.2.2. Beside it stand the
truth, which is what can be had, and other maps' photographs, which is what can be had without
looking. The score is void, and the exit status 2, where the segmenter is weak on real pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from rich.table import Table
from torch import nn

from bench.command import BenchError, console, run
from bench.progress import shown
from bench.result import Result
from training import data
from training.config import DataConfig
from training.data.batches import to_batch
from training.data.cache import cache_folder
from training.data.dataset import Dataset, Images
from training.data.progress import Progress, silent
from training.metrics.fcn import FCN, FCNSettings, train_fcn
from training.metrics.segmentation import (
    Maps,
    Palette,
    Segmentation,
    classes_of,
    confusion,
    palette_of,
    segmentation,
)
from training.recipe import Recipe
from training.run import load_run

LEAST_PIXEL_ACCURACY = 0.85
CHUNK = 100


@dataclass(frozen=True, eq=False)
class Segmenter:
    """One that learnt from real pairs.

    Args:
        network: trained on the training split.
        palette: the colours of the classes.
        maps: of the test split, [N, S, S].
        truth: its score on the photographs of the test split.
    """

    network: FCN
    palette: Palette
    maps: Maps
    truth: Segmentation

    def score(self, images: Images) -> Segmentation:
        """Of pictures that were made from the maps of the test split, in order."""
        return self._compared(images, self.maps)

    def blind_score(self, images: Images) -> Segmentation:
        """Of the same, each held against the map of another."""
        return self._compared(images, np.roll(self.maps, 1, axis=0))

    def _compared(self, images: Images, maps: Maps) -> Segmentation:
        found = self.network.look(images)
        return segmentation(confusion(maps, found, len(self.palette)))


def learn(
    train: Dataset,
    test: Dataset,
    settings: FCNSettings | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Segmenter:
    """A segmenter of the photographs of a data set of pairs.

    Raises:
        BenchError: the sources are no maps, or the segmenter is too weak for a score to count.
    """
    if train.sources is None or test.sources is None:
        raise BenchError(f"{train.name} has no pairs: name a set of pairs, or its pairing")
    try:
        palette = palette_of(train.sources)
    except ValueError as error:
        raise BenchError(f"the sources of {train.name} are no maps of classes: {error}") from None
    maps, seen = classes_of(train.sources, palette), classes_of(test.sources, palette)
    network = train_fcn(train.images, maps, len(palette), settings, cache=cache, progress=progress)
    truth = segmentation(confusion(seen, network.look(test.images), len(palette)))
    if truth.pixel_accuracy < LEAST_PIXEL_ACCURACY:
        raise BenchError(
            f"the segmenter has {truth.pixel_accuracy:.3f} pixel accuracy on real photographs, "
            f"less than {LEAST_PIXEL_ACCURACY}: a score in its eyes is void. Give more pairs"
        )
    return Segmenter(network, palette, seen, truth)


@torch.no_grad()
def translated(recipe: Recipe, generator: nn.Module, sources: Images, seed: int = 0) -> Images:
    """What a generator makes of sources [N, S, S, C']: uint8 [N, S, S, C].

    Args:
        recipe: draws what its generators take beside the source.
        generator: the recipe's own, or its average.
        sources: uint8.
        seed: of the draws.
    """
    made, cpu = [], torch.device("cpu")
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for start in range(0, len(sources), CHUNK):
            part = sources[start : start + CHUNK]
            batch = to_batch(part, None, cpu, part)
            pictures = generator(*cast(Any, recipe).inputs(batch))
            made.append(pictures.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1))
    return torch.cat(made).numpy()


def load_pairs(config: DataConfig) -> tuple[Dataset, Dataset]:
    """The training and the test split."""
    train, test = (
        data.load(
            config.source,
            split=split,
            size=config.size,
            channels=config.channels,
            pairing=config.pairing,
        )
        for split in ("train", "test")
    )
    return train, test


def rows(segmenter: Segmenter, made: Images, real: Images) -> Iterator[dict[str, Any]]:
    """The scores, one a row."""
    for name, score in (
        ("ground truth", segmenter.truth),
        ("this run", segmenter.score(made)),
        ("other maps' photographs", segmenter.blind_score(real)),
    ):
        yield {"pictures": name, "samples": len(made), **asdict(score)}


def table(title: str, found: list[dict[str, Any]]) -> Table:
    """A row per kind of picture."""
    shown_table = Table(title=title, title_justify="left")
    for name in found[0]:
        shown_table.add_column(name.replace("_", " "))
    for row in found:
        cells = (f"{each:.3f}" if isinstance(each, float) else str(each) for each in row.values())
        shown_table.add_row(*cells)
    return shown_table


def main(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="Of a translator from maps.")],
    epochs: Annotated[int, typer.Option(min=1, help="Of the segmenter.")] = FCNSettings.epochs,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Score a trained translator."""
    loaded = load_run(path)
    train, test = load_pairs(loaded.config.data)
    with shown() as progress:
        settings, cache = FCNSettings(epochs=epochs), cache_folder() / "judges"
        segmenter = learn(train, test, settings, cache=cache, progress=progress)
    assert test.sources is not None
    made = translated(loaded.recipe, loaded.recipe.generator, test.sources)
    found = list(rows(segmenter, made, test.images))
    result = Result("fcn", run=str(path), data=train.name, settings=asdict(settings))
    result.update(figures=found, complete=True)
    result.write(json)
    console().print(table(f"FCN-score, {train.name}", found))


if __name__ == "__main__":
    run(main)
