"""The user's own images: a folder, a zip of one, an .npz, or a folder of IDX files."""

from __future__ import annotations

import difflib
import logging
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.data.archive import open_zip
from training.data.arrays import read_captions, read_npz
from training.data.captions import Captions
from training.data.dataset import Dataset, Images, Labels, Skipped, fingerprint
from training.data.decode import is_grey, squared, with_channels
from training.data.folder import list_folder
from training.data.idx_folder import holds_idx, read_idx, recognised
from training.data.layout import arrange
from training.data.named import NAMED, load_named
from training.data.operators import OPERATORS
from training.data.pairs import decode_paired, lies_in_files, rows
from training.data.pictures import Listing, printable
from training.data.wanted import Wanted
from training.errors import DataError

DEFAULT_SIZE = 64  # of pictures in files, which seldom share one
LEAST = 2
SHOWN = 5  # names in a message
LICENCE = "unspecified"

log = logging.getLogger(__name__)


def load_own(path: Path, wanted: Wanted) -> Dataset:
    """The images at ``path``; see ``training.data.load``."""
    if not os.path.exists(path):  # unlike Path.exists, False for a name too long
        raise DataError(_unknown(path))
    if path.is_dir() and holds_idx(path):
        named = recognised(path)
        if named is not None:
            return load_named(named, path, wanted)
        return _from_arrays(path, *read_idx(path, wanted.split), wanted)
    if path.is_dir():
        return _from_files(path, list_folder(path), wanted)
    if path.suffix.lower() == ".npz":
        images, labels, classes = read_npz(path, wanted.split)
        words = read_captions(path, wanted.split, len(images))
        return _from_arrays(path, images, labels, classes, wanted, words)
    if zipfile.is_zipfile(path):
        with open_zip(path) as listing:
            return _from_files(path, listing, wanted)
    raise DataError(f"{path} is neither a folder nor a zip nor an .npz: give one of these")


def _from_files(path: Path, listing: Listing, wanted: Wanted) -> Dataset:
    decoded = decode_paired(listing.pictures, wanted.size or DEFAULT_SIZE, wanted)
    layout = arrange([picture.parts for picture in decoded.usable], wanted.split)
    strays = (decoded.usable[row].name for row in layout.strays)
    skipped = [*listing.skipped, *decoded.skipped]
    skipped += [Skipped(name, "lies beside the class folders") for name in strays]
    if len(layout.rows) < LEAST:
        raise DataError(_too_few(path, len(layout.rows), skipped, listing, wanted))
    if skipped:
        log.warning("%s: %s", path, summary(skipped))
    images = rows(decoded.images, layout.rows)
    sources = None if decoded.sources is None else rows(decoded.sources, layout.rows)
    labels = None if layout.labels is None else np.array(layout.labels, np.int64)
    return _dataset(path, images, labels, layout.classes, tuple(sorted(skipped)), sources)


def _from_arrays(
    path: Path,
    images: Images,
    labels: Labels | None,
    classes: tuple[str, ...],
    wanted: Wanted,
    words: Captions | None = None,
) -> Dataset:
    if lies_in_files(wanted.pairing):
        raise DataError(
            f"{path} holds arrays, and pairing={wanted.pairing} is for pictures in files: save "
            f"them as files, or say one of {', '.join(OPERATORS)}"
        )
    if len(images) < LEAST:
        raise DataError(f"{path} holds {len(images)} {wanted.split} images: at least {LEAST}")
    images = squared(images, wanted.size or min(images.shape[1:3]), wanted.progress)
    channels = wanted.channels or (1 if all(map(is_grey, images)) else 3)
    return _dataset(path, with_channels(images, channels), labels, classes, (), words=words)


def _dataset(
    path: Path,
    images: Images,
    labels: Labels | None,
    classes: tuple[str, ...],
    skipped: tuple[Skipped, ...],
    sources: Images | None = None,
    words: Captions | None = None,
) -> Dataset:
    if not all(name.strip() for name in classes):
        raise DataError(f"{path}: a class has a blank name: give each of the classes a name")
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise DataError(f"{path} names the class {twice!r} twice: give each a name of its own")
    return Dataset(
        name=printable(path.resolve().stem if path.is_file() else path.resolve().name),
        licence=LICENCE,
        attribution="",
        classes=classes,
        images=images,
        labels=labels,
        fingerprint=fingerprint(images, labels, classes, sources, words),
        skipped=skipped,
        sources=sources,
        captions=words,
    )


def summary(skipped: Sequence[Skipped]) -> str:
    """How many files were skipped, and the first of them by name."""
    shown = "; ".join(f"{name} ({reason})" for name, reason in skipped[:SHOWN])
    more = f"; and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
    return f"{len(skipped)} file{'s' * (len(skipped) > 1)} skipped: {shown}{more}"


def _too_few(
    path: Path, usable: int, skipped: Sequence[Skipped], listing: Listing, wanted: Wanted
) -> str:
    found = [f"found {usable} usable {wanted.split} image{'s' * (usable != 1)} in {path}"]
    found += [summary(skipped)] if skipped else []
    others = ", ".join(f"{count} {ending}" for ending, count in listing.others.most_common(SHOWN))
    found += [f"other files: {others}"] if others else []
    advice = f"Training needs at least {LEAST}"
    if wanted.split == "test":
        advice = "A test split is a folder called test beside one called train"
    return f"{'. '.join(found)}. {advice}"


def _unknown(path: Path) -> str:
    near = difflib.get_close_matches(str(path), list(NAMED), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return (
        f"no data set or path called {printable(str(path))}.{hint} Named sets: {', '.join(NAMED)}; "
        "or give a folder of images, a zip of one, or an .npz"
    )
