"""Does a picture show its caption? Retrieval among 50, beside chance and beside real pictures.

    python -m bench.retrieval MODEL [--data openmoji:FOLDER]

A matching network learns from the real pictures and their captions, over ImageNet's EfficientNet-
Lite0; it is no part of any generator's training. It then has to find, for a picture made from a
caption, this caption among 50. Real pictures are the floor: where it fails on these, the figure is
void. The test split, of compositions that were never seen together, is a row of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from bench.command import BenchError, console, run
from bench.progress import shown
from bench.result import Result
from export.bundle import Bundle
from export.evaluate import opened
from export.manifest import Quality
from export.sampling import Generator, pictures
from export.source import open_generator
from training import data
from training.data.captions import Captions
from training.data.dataset import Dataset
from training.data.progress import Progress
from training.metrics.features import Extractor, lite0
from training.metrics.retrieval import (
    Matcher,
    distractors,
    retrieval_precision,
    train_matcher,
)

AMONG = 50
TARGET = 5 / AMONG  # five times chance
LEAST_REAL = 0.8  # of real pictures; below, the matching network judges nothing
SEEN, NEW = "retrieval, seen captions", "retrieval, new compositions"
EACH = 10  # pictures of each new composition


class Spoken:
    """A captioned data set, and a network that learnt to match it.

    Args:
        train: that the generator learnt from.
        test: of new compositions.
        eyes: the features.
        progress: told of what takes long.
    """

    def __init__(self, train: Dataset, test: Dataset, eyes: Extractor, progress: Progress) -> None:
        self.words, self.new_words = _captions(train), _captions(test)
        self.eyes, self._train, self._test = eyes, train, test
        self._features = eyes(np.asarray(train.images), progress)
        self.matcher: Matcher = train_matcher(
            self._features, self.words.tokens, self.words.vocabulary
        )
        self.texts = np.concatenate([self.words.tokens[:, 0], self.new_words.tokens[:, 0]])

    def precision(self, features: NDArray[np.floating[Any]], own: NDArray[np.int64]) -> float:
        """The share of pictures found, each among 50 texts drawn from the seed 0."""
        choices = distractors(self.texts, own, AMONG - 1)
        return retrieval_precision(self.matcher, features, self.texts, own, choices)

    def seen(self, count: int) -> tuple[NDArray[np.int64], list[str], float]:
        """Captions of the training split: their rows and texts, and the precision of the real."""
        rows = np.linspace(0, len(self._train) - 1, count).astype(np.int64)
        texts = [self.words.texts[row][0] for row in rows]
        return rows, texts, self.precision(self._features[rows], rows)

    def new(self) -> tuple[NDArray[np.int64], list[str], float]:
        """Those of the test split, each ``EACH`` times."""
        rows = len(self._train) + np.arange(len(self._test))
        real = self.precision(self.eyes(np.asarray(self._test.images)), rows)
        texts = [texts[0] for texts in self.new_words.texts]
        return np.repeat(rows, EACH), [text for text in texts for _ in range(EACH)], real


def _captions(dataset: Dataset) -> Captions:
    if dataset.captions is None:
        raise BenchError(f"{dataset.name} has no captions: add --data openmoji:FOLDER")
    return dataset.captions


def measure(generator: Generator, spoken: Spoken, count: int, progress: Progress) -> list[Quality]:
    """The precision on seen captions and on new compositions; references are real pictures."""
    figures = []
    for metric, (rows, texts, real) in ((SEEN, spoken.seen(count)), (NEW, spoken.new())):
        images = pictures(generator, list(range(len(texts))), texts=texts)
        value = spoken.precision(spoken.eyes(images, progress), rows)
        protocol = (
            f"a picture of each of {len(set(texts))} captions ({len(texts)} in all), seeds from 0; "
            f"its caption among {AMONG} by a matching network over {spoken.eyes.name}, trained on "
            f"{len(spoken.words.texts)} real pairs; chance {1 / AMONG:.2f}; reference: real ones"
        )
        figures.append(
            Quality(
                metric=metric, value=value, reference=real, samples=len(texts), protocol=protocol
            )
        )
    return figures


def spoken_of(bundle: Bundle, source: str | None, progress: Progress) -> Spoken:
    """What a bundle learnt from, with its matching network.

    Raises:
        BenchError: nobody says what that is, or it has no captions.
    """
    made = bundle.manifest.provenance
    source = source or (made.dataset if made else None)
    if not source:
        raise BenchError(f"{bundle.path} does not say what it learnt from: add --data NAME")
    size = bundle.manifest.size.examples()[0][0]
    train, test = (
        data.load(source, split=split, size=size, progress=progress) for split in ("train", "test")
    )
    return Spoken(train, test, lite0(), progress)


def table(figures: list[Quality]) -> Table:
    """The figures, one a row."""
    drawn = Table(title=f"retrieval among {AMONG}", title_justify="left")
    for name in ("metric", "this", "real", "chance", "samples"):
        drawn.add_column(name, justify="left" if name == "metric" else "right")
    for one in figures:
        drawn.add_row(
            one.metric,
            f"{one.value:.3f}",
            f"{one.reference:.3f}",
            f"{1 / AMONG:.3f}",
            f"{one.samples:,}",
        )
    return drawn


def main(
    model: Annotated[str, typer.Argument(help="A run, a bundle's path, or a name in models/.")],
    source: Annotated[str | None, typer.Option("--data", help="What it learnt from.")] = None,
    count: Annotated[int, typer.Option("--captions", min=10, help="Of those it has seen.")] = 1000,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Score a model that reads text."""
    with shown() as progress, opened(model, [Path("models")], None, lambda step: None) as bundle:
        spoken = spoken_of(bundle, source, progress)
        generator = open_generator(str(bundle.path), [], None)
        figures = measure(generator, spoken, count, progress)
    seen = figures[0]
    void = seen.reference is None or seen.reference < LEAST_REAL
    passed = not void and seen.value >= TARGET
    rows = [one.model_dump() for one in figures]
    result = Result("retrieval", model=model, figures=rows, target=TARGET, void=void)
    result.update(passed=passed, complete=True)
    result.write(json)
    output = console()
    output.print(table(figures))
    for one in figures:
        output.print(f"{one.metric}: {one.protocol}", markup=False, soft_wrap=True)
    told = "VOID: it fails on real pictures" if void else "pass" if passed else "MISSED"
    output.print(f"target on seen captions, five times chance: {told}")
    if not passed:
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
