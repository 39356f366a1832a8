"""Two sets of pictures side by side that have nothing to do with one another.

``pairing=unpaired:SOURCE`` puts the pictures of another source (whatever ``load`` takes) beside
those of a set. In training every row is a chance meeting: the longer of the two as it is, the
shorter shuffled, and again until it is as long. In the test split rows are pairs in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset, Images, fingerprint
from training.data.kept import kept
from training.data.wanted import Wanted
from training.errors import DataError

PREFIX = "unpaired:"
FORMAT = 1  # of how rows meet: raise it when that changes
PART_ROWS = 256

Rows = NDArray[np.int64]


def other_source(pairing: str | None) -> str | None:
    """The source of the first domain, if the pairing names one."""
    return pairing[len(PREFIX) :] if pairing is not None and pairing.startswith(PREFIX) else None


def side_by_side(first: Dataset, second: Dataset, wanted: Wanted) -> Dataset:
    """The pictures of ``second`` as images, and those of ``first`` as their sources.

    Labels and captions are of neither: nobody asks for them.

    Raises:
        DataError: pictures of two sizes, or the cache cannot be written.
    """
    if first.images.shape[1] != second.images.shape[1]:
        sides = [each.images.shape[1] for each in (first, second)]
        raise DataError(
            f"pictures of {first.name} are {sides[0]} pixels wide and of {second.name} {sides[1]}: "
            "choose one size for both (data.size)"
        )
    if wanted.split == "test":
        count = min(len(first), len(second))
        sources, images = first.images[:count], second.images[:count]
    else:
        count = max(len(first), len(second))
        sources = _shuffled(first, count, wanted)
        images = second.images if len(second) == count else _shuffled(second, count, wanted)
    names = (first.name, second.name)
    return replace(
        second,
        name=" and ".join(names),
        licence=_joined(first.licence, second.licence, " AND "),
        attribution=_joined(first.attribution, second.attribution, "; "),
        classes=(),
        images=images,
        labels=None,
        fingerprint=fingerprint(images, None, (), sources),
        skipped=(*first.skipped, *second.skipped),
        sources=sources,
        captions=None,
        domains=names if names[0] != names[1] else ("first", "second"),
    )


def shuffled(rows: int, count: int, seed: int) -> Rows:
    """``count`` of so many rows in a random order, each as often as any other, but for one."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    turns = [generator.permutation(rows) for _ in range(-(-count // rows))]
    return np.concatenate(turns)[:count]


def strangers(first: Sequence[str], second: Sequence[str], count: int) -> tuple[Rows, Rows]:
    """Rows of both, each list as ``shuffled``, so that none stands beside one of the same name."""
    one, other = (shuffled(len(names), count, seed) for seed, names in enumerate((first, second)))
    for k in range(count):
        if first[one[k]] != second[other[k]]:
            continue
        for j in range(count):  # the first that can trade places with it
            if first[one[k]] != second[other[j]] and first[one[j]] != second[other[k]]:
                other[[k, j]] = other[[j, k]]
                break
    return one, other


def _shuffled(data: Dataset, count: int, wanted: Wanted) -> Images:
    """Pictures that may not fit into memory, in a random order."""
    chosen = shuffled(len(data), count, seed=0)

    def compute() -> Iterator[Images]:
        for start in range(0, len(chosen), PART_ROWS):
            yield data.images[chosen[start : start + PART_ROWS]]

    facts: list[object] = [FORMAT, "shuffled", data.fingerprint]
    _, height, width, channels = data.images.shape
    return kept(wanted.cache, facts, (count, height, width, channels), compute)


def _joined(first: str, second: str, word: str) -> str:
    return word.join(dict.fromkeys(each for each in (first, second) if each))
