"""Makes ``fashion-mnist-subset`` out of ``fashion-mnist``: ``python -m training.data.make_subset``.

The first 1,000 images of each class of the training split, and the first 200 of each class of the
test split, in their original order: no choice is drawn, so anybody gets the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib

import numpy as np
from numpy.typing import NDArray

from training.data import Dataset, Split, load
from training.data.idx import serialise
from training.data.idx_files import STEMS
from training.data.named import SHIPPED

PER_CLASS: dict[Split, int] = {"train": 1_000, "test": 200}


def main() -> None:
    """Write the four files, and print the SHA-256 of their content."""
    for split, per_class in PER_CLASS.items():
        for name, content in contents(load("fashion-mnist", split=split), split, per_class).items():
            path = SHIPPED / f"{name}.gz"
            path.write_bytes(gzip.compress(content, 9, mtime=0))
            print(hashlib.sha256(content).hexdigest(), path)


def contents(data: Dataset, split: Split, per_class: int) -> dict[str, bytes]:
    """The content of the split's two IDX files, by name."""
    assert data.labels is not None  # every named set has them
    rows = first_of_each(data.labels, per_class)
    return {
        f"{STEMS[split]}-images-idx3-ubyte": serialise(data.images[rows, :, :, 0]),
        f"{STEMS[split]}-labels-idx1-ubyte": serialise(data.labels[rows].astype(np.uint8)),
    }


def first_of_each(labels: NDArray[np.int64], per_class: int) -> NDArray[np.intp]:
    """The rows of the first ``per_class`` of each class, ascending."""
    chosen = [np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


if __name__ == "__main__":
    main()
