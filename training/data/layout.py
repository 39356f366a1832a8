"""From where pictures lie to classes and splits: a pure function of their relative paths.

The top is the deepest folder that holds all pictures. Its subfolders are the classes, at any depth
below them; unless they are called train, test and so on: then they are the splits, and the folders
in them are the classes. One class, or none, is no label. Where there are classes, a picture
that lies beside their folders has none, and is left out.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from training.data.dataset import Split
from training.data.pictures import printable

SPLITS: dict[str, Split | None] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": None,  # known, and used for nothing
    "valid": None,
    "validation": None,
}


@dataclass(frozen=True)
class Layout:
    """Which pictures make up a split.

    Args:
        rows: positions of its pictures, ascending.
        labels: one for each of ``rows``; None without classes.
        classes: sorted by name; the same for every split.
        strays: positions of pictures left out for lying beside the class folders.
    """

    rows: list[int]
    labels: list[int] | None
    classes: tuple[str, ...]
    strays: list[int]


def arrange(paths: Sequence[tuple[str, ...]], split: Split) -> Layout:
    """The pictures of a split and their classes; no rows where there is no such split."""
    top = _shared_depth([path[:-1] for path in paths])
    tails = {row: path[top:] for row, path in enumerate(paths)}
    strays = []
    if _are_splits({tail[0].lower() for tail in tails.values() if len(tail) > 1}):
        strays = [row for row, tail in tails.items() if len(tail) == 1]
        wanted = {row for row, tail in tails.items() if SPLITS.get(tail[0].lower()) == split}
        tails = {row: tail[1:] for row, tail in tails.items() if len(tail) > 1}
    else:
        wanted = set(tails) if split == "train" else set()
    found = {row: class_name(tail[0]) for row, tail in tails.items() if len(tail) > 1}
    classes = tuple(sorted(set(found.values())))
    if len(classes) < 2:
        return Layout(sorted(wanted), None, (), strays)
    rows = sorted(wanted & set(found))
    index = {name: label for label, name in enumerate(classes)}
    labels = [index[found[row]] for row in rows]
    return Layout(rows, labels, classes, sorted([*strays, *(wanted - set(found))]))


def class_name(folder: str) -> str:
    """A folder's name as a class: composed (a Mac's zip decomposes accents) and printable."""
    return unicodedata.normalize("NFC", printable(folder))


def _shared_depth(folders: Sequence[tuple[str, ...]]) -> int:
    """How many leading parts all folders share: those that the first and the last of them share."""
    if not folders:
        return 0
    pairs = zip(min(folders), max(folders), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _are_splits(folders: set[str]) -> bool:
    return folders <= set(SPLITS) and any(SPLITS[folder] == "train" for folder in folders)
