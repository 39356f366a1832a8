"""The real side of an evaluation: images that a generator never saw, and a judge that learnt them.

The test set is cut into two halves of equal classes. Samples are compared with one half; the other
half, compared in the same way, says what a perfect generator would score: the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import data
from training.data.cache import cache_folder
from training.data.dataset import Dataset, Images, Labels, Split
from training.data.named import NAMED
from training.data.progress import Progress
from training.metrics.judge import SMALLEST_SIDE, Judge, JudgeSettings, train_judge

# The larger set of the same images, preferred where it is installed.
LARGER = {"fashion-mnist-subset": "fashion-mnist", "mnist-5k": "mnist"}
LEAST_HELD_OUT = 50  # fewer held-out images compare nothing
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
class Verdicts:
    """A judge, and what is known of it.

    Args:
        judge: trained on the whole of the training split.
        images: how many those were.
        accuracy: on the whole of the test split.
        cache: where judges are kept.
    """

    judge: Judge
    images: int
    accuracy: float
    cache: Path


@dataclass(frozen=True, eq=False)
class Reality:
    """What samples are compared with.

    Args:
        name: of the data set.
        learnt: the training split of what the generator learnt from.
        test: the test split; the training split where there is none, or hardly one.
        held_out: whether it is the test split.
        halves: of ``test``, with the same share of each class.
        classes: names; empty without labels.
        verdicts: a judge; None where no images can teach one.
        texts: a caption of each image of ``learnt``, in an order drawn from a seed, so that the
            first few are of everything; empty where it has none.
    """

    name: str
    learnt: Labelled
    test: Labelled
    held_out: bool
    halves: tuple[Labelled, Labelled]
    classes: tuple[str, ...]
    verdicts: Verdicts | None
    texts: tuple[str, ...] = ()

    @property
    def judge_protocol(self) -> str:
        """The judge, in words."""
        assert self.verdicts is not None
        return (
            f"judge: LeNet, {self.name}, {self.verdicts.images} images, "
            f"test accuracy {self.verdicts.accuracy:.3f} on {len(self.test)}"
        )

    @property
    def kind(self) -> str:
        """What the real images are, in words."""
        return f"{'test' if self.held_out else 'TRAINING'} images of {self.name}"


def meet(
    source: str,
    side: int | None,
    channels: int,
    progress: Progress,
    cache: Path | None = None,
    *,
    judged: bool = True,
) -> Reality:
    """Load the data and train the judge, or find it in the cache.

    Args:
        source: the data set that the generator learnt from, or is to be compared with.
        side: of its pictures, in pixels; None is that of the images.
        channels: of its pictures.
        progress: told of steps that take long.
        cache: folder; by default that of the data sets.
        judged: whether a judge is wanted.
    """
    kept = cache_folder(cache)
    name = _largest(source, kept)
    known = _load(name, "train", side, channels, kept)
    learnt = known if name == source else _load(source, "train", side, channels, kept)
    try:
        test = _load(name, "test", side, channels, kept)
    except data.DataError:
        test = known
    if len(test) < LEAST_HELD_OUT:
        test = known
    tested = Labelled(test.images, test.labels)
    return Reality(
        name=known.name,
        learnt=Labelled(learnt.images, learnt.labels),
        test=tested,
        held_out=test is not known,
        halves=halves(tested),
        classes=known.classes,
        verdicts=_verdicts(known, tested, kept / "judges", progress) if judged else None,
        texts=_texts(learnt),
    )


def _texts(learnt: Dataset) -> tuple[str, ...]:
    if learnt.captions is None:
        return ()
    order = np.random.default_rng(0).permutation(len(learnt))
    return tuple(learnt.captions.texts[row][0] for row in order)


def _verdicts(known: Dataset, test: Labelled, cache: Path, progress: Progress) -> Verdicts | None:
    settings = SMALL if len(known) <= SMALL_SET else FULL
    small = known.images.shape[1] < SMALLEST_SIDE or len(known) < settings.batch_size
    if known.labels is None or test.labels is None or small:
        return None
    classes = len(known.classes)
    judge = train_judge(
        known.images, known.labels, classes, settings, cache=cache, progress=progress
    )
    return Verdicts(judge, len(known), judge.accuracy(test.images, test.labels), cache)


def halves(data: Labelled) -> tuple[Labelled, Labelled]:
    """Two halves of equal size with the same share of each class, in a fixed order."""
    order = _by_class(data)
    return data.take(order[0::2][: len(order) // 2]), data.take(order[1::2])


def balanced(data: Labelled, count: int) -> Labelled:
    """At most ``count`` images, as many of each class as possible."""
    order = _by_class(data)
    if data.labels is None:
        return data.take(order[:count])
    _, starts = np.unique(data.labels[order], return_index=True)
    rank = np.concatenate([np.arange(len(part)) for part in np.split(order, starts[1:])])
    return data.take(order[np.argsort(rank, kind="stable")[:count]])


def spread(data: Labelled, count: int) -> Labelled:
    """Some of a set, evenly: where it is sorted, every class keeps its share."""
    return data.take(np.arange(count) * len(data) // count)


def _by_class(data: Labelled) -> NDArray[np.int64]:
    if data.labels is None:
        return np.arange(len(data))
    return np.argsort(data.labels, kind="stable")


def _largest(source: str, cache: Path) -> str:
    larger = LARGER.get(source)
    if larger is None:
        return source
    here = all(NAMED[larger].files.here(larger, split, cache) for split in ("train", "test"))
    return larger if here else source


def _load(name: str, split: Split, side: int | None, channels: int, cache: Path) -> Dataset:
    return data.load(name, split=split, size=side, channels=channels, cache=cache)
