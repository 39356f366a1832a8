"""A user's folder of IDX files: one of the named sets if its content says so, else any other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from training.data.dataset import Images, Labels, Split
from training.data.idx import parse, read_content
from training.data.idx_files import STEMS, IdxFiles, Kind, copies
from training.data.named import NAMED, Named
from training.errors import DataError


def holds_idx(folder: Path) -> bool:
    """Whether there are files called like MNIST's."""
    return any(True for _ in copies(folder, "train", "images"))


def recognised(folder: Path) -> Named | None:
    """The named set whose training images these are."""
    path = next(copies(folder, "train", "images"))
    sha256 = hashlib.sha256(read_content(path)).hexdigest()
    for named in NAMED.values():
        if isinstance(named.files, IdxFiles) and named.files.train.images == sha256:
            return named
    return None


def read_idx(folder: Path, split: Split) -> tuple[Images, Labels | None, tuple[str, ...]]:
    """Images [N, H, W, 1], labels [N] if there is a file of them, class names.

    Raises:
        DataError: no such split, or files that do not belong together.
    """
    images = _array(folder, split, "images")
    if images is None or images.ndim != 3 or 0 in images.shape:
        raise DataError(f"{folder} holds no {split} images [N, H, W] in an IDX file")
    labels = _array(folder, split, "labels")
    if labels is None:
        return images[..., None], None, ()
    if labels.shape != images.shape[:1]:
        raise DataError(f"{folder} holds {len(images)} {split} images and labels of {labels.shape}")
    # Of both splits, so that a class has the same index in each.
    known = [array for part in STEMS if (array := _array(folder, part, "labels")) is not None]
    classes = tuple(str(value) for value in range(max(int(array.max()) for array in known) + 1))
    return images[..., None], labels.astype(np.int64), classes


def _array(folder: Path, split: Split, kind: Kind) -> Images | None:
    path = next(copies(folder, split, kind), None)
    return None if path is None else parse(read_content(path), path)
