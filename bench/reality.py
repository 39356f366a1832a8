"""The real side of the comparison: a judge that learnt from real images, and images it never saw.

The test set is cut into two halves of equal classes. Samples are compared with one half; the other
half, compared in the same way, says what a perfect generator would score.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import data
from training.data.cache import cache_folder
from training.data.dataset import Dataset, Split
from training.data.named import NAMED
from training.data.progress import Progress
from training.metrics.judge import Images, Judge, JudgeSettings, Labels, train_judge

# The larger set of the same images, preferred where it is installed.
LARGER = {"fashion-mnist-subset": "fashion-mnist", "mnist-5k": "mnist"}
LEAST_ACCURACY = {"fashion-mnist": 0.90}  # a weaker judge than this judges nothing
FULL, SMALL = JudgeSettings(epochs=6), JudgeSettings(epochs=12)
SMALL_SET = 20_000


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images [N, H, W, C] and their labels [N]; None where there are no classes."""

    images: Images
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: NDArray[np.int64] | slice) -> Labelled:
        """Some of them."""
        return Labelled(self.images[rows], None if self.labels is None else self.labels[rows])


@dataclass(frozen=True, eq=False)
class Reality:
    """What samples are compared with.

    Args:
        name: of the data set that the judge knows.
        judge: trained on the whole of its training split.
        judge_images: how many those were.
        accuracy: of the judge on the whole of the test split.
        train: as many real training images as samples are given to a learning judge.
        test: the test split.
        halves: of the test split, with the same share of each class.
        classes: names.
        cache: where judges are kept.
    """

    name: str
    judge: Judge
    judge_images: int
    accuracy: float
    train: Labelled
    test: Labelled
    halves: tuple[Labelled, Labelled]
    classes: tuple[str, ...]
    cache: Path

    @property
    def valid(self) -> bool:
        """Whether the judge is good enough for its verdicts to mean anything."""
        return self.accuracy >= LEAST_ACCURACY.get(self.name, 0.0)

    @property
    def protocol(self) -> str:
        """The judge, in words."""
        return (
            f"judge: LeNet, {self.name}, {self.judge_images} images, "
            f"test accuracy {self.accuracy:.3f} on {len(self.test)}"
        )


def meet(
    source: str,
    side: int,
    channels: int,
    train_images: int,
    progress: Progress,
    cache: Path | None = None,
) -> Reality:
    """Load the data and train the judge, or find it in the cache.

    Args:
        source: the data set that the generator learnt from.
        side: of its pictures, in pixels.
        channels: of its pictures.
        train_images: of the real set that stands beside GAN-train.
        progress: told of steps that take long.
        cache: folder; by default that of the data sets.
    """
    kept = cache_folder(cache)
    name = _largest(source, kept)
    whole, test = (_load(name, split, side, channels, kept) for split in ("train", "test"))
    learnt = _load(source, "train", side, channels, kept)
    images, labels = whole.images, _labels(whole)
    settings = SMALL if len(whole) <= SMALL_SET else FULL
    folder = kept / "judges"
    judge = train_judge(
        images, labels, len(whole.classes), settings, cache=folder, progress=progress
    )
    tested = Labelled(test.images, _labels(test))
    return Reality(
        name=name,
        judge=judge,
        judge_images=len(whole),
        accuracy=judge.accuracy(tested.images, _labels(test)),
        train=balanced(Labelled(learnt.images, _labels(learnt)), train_images),
        test=tested,
        halves=halves(tested),
        classes=whole.classes,
        cache=folder,
    )


def halves(data: Labelled) -> tuple[Labelled, Labelled]:
    """Two halves of equal size with the same share of each class, in a fixed order."""
    order = _by_class(data)
    return data.take(order[0::2][: len(order) // 2]), data.take(order[1::2])


def balanced(data: Labelled, count: int) -> Labelled:
    """At most ``count`` images, as many of each class as possible."""
    order = _by_class(data)
    assert data.labels is not None
    _, starts = np.unique(data.labels[order], return_index=True)
    rank = np.concatenate([np.arange(len(part)) for part in np.split(order, starts[1:])])
    return data.take(order[np.argsort(rank, kind="stable")[:count]])


def _by_class(data: Labelled) -> NDArray[np.int64]:
    assert data.labels is not None
    return np.argsort(data.labels, kind="stable")


def _largest(source: str, cache: Path) -> str:
    larger = LARGER.get(source)
    if larger is None:
        return source
    here = all(NAMED[larger].files.here(larger, split, cache) for split in ("train", "test"))
    return larger if here else source


def _load(name: str, split: Split, side: int, channels: int, cache: Path) -> Dataset:
    return data.load(name, split=split, size=side, channels=channels, cache=cache)


def _labels(dataset: Dataset) -> Labels:
    if dataset.labels is None:
        raise data.DataError(f"{dataset.name} has no classes: a judge needs them; add --data NAME")
    return dataset.labels
