"""Many pictures to one read-only memory map of pixels, decoded once.

The map's name in the cache is the SHA-256 of what went in: the bytes of every picture in order,
size and channels. So each run reads all files once (60,000 small JPEGs: seconds), a folder that is
moved or renamed is found again, and stale pixels are never met.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from training.data.cache import fill_folder
from training.data.dataset import Images, Skipped
from training.data.decode import Undecodable, decode, is_grey, with_channels
from training.data.pictures import Picture, Unreadable
from training.data.pool import in_order
from training.data.progress import Progress
from training.data.wanted import Wanted
from training.errors import DataError

FORMAT = 1  # of the files below, and of what decode.py makes of a picture: raise it with either
PIXELS, INDEX = "pixels", "index.json"
Result = TypeVar("Result")
REPORT_EVERY = 50
COPY_ROWS = 1024


@dataclass(frozen=True)
class Decoded:
    """Pictures as pixels.

    Args:
        images: read-only [N, size, size, C].
        usable: the picture of each image.
        skipped: the pictures that gave no image.
        sources: read-only [N, size, size, C'], what each image is to be produced from, if anything.
    """

    images: Images
    usable: list[Picture]
    skipped: list[Skipped]
    sources: Images | None = None


@dataclass(frozen=True)
class _Digested:
    picture: Picture
    sha256: str


def decode_all(
    pictures: Sequence[Picture], size: int, wanted: Wanted, *, halves: bool = False
) -> Decoded:
    """Every picture that can be used, in order, ``size`` pixels square.

    Without ``wanted.channels`` there is 1 channel if every image is grey, else 3. With ``halves``
    the left and the right half of each are two such pictures, side by side: twice as wide.

    Raises:
        DataError: the cache cannot be written, or a file changed while it was read.
    """
    digested, skipped = _digests(pictures, wanted.progress)
    facts = [FORMAT, size, wanted.channels, *(entry.sha256 for entry in digested)]
    facts += ["halves"] * halves
    home = wanted.cache / "images" / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    try:
        if not _is_whole(home):
            shutil.rmtree(home, ignore_errors=True)
            fill_folder(home, partial(_fill, digested, size, wanted, halves))
        images, broken = _open(home)
    except OSError as error:
        raise DataError(
            f"decoded images cannot be kept in {wanted.cache}: {error.strerror or error}. "
            "Make room there, or set GANYMEDE_CACHE to another folder"
        ) from error
    usable = [entry.picture for row, entry in enumerate(digested) if row not in broken]
    skipped += [Skipped(digested[row].picture.name, reason) for row, reason in broken.items()]
    return Decoded(images, usable, skipped)


def _digests(
    pictures: Sequence[Picture], progress: Progress
) -> tuple[list[_Digested], list[Skipped]]:
    def digest(picture: Picture) -> _Digested | Skipped:
        try:
            return _Digested(picture, hashlib.sha256(picture.read()).hexdigest())
        except Unreadable as error:
            return Skipped(picture.name, str(error))

    digested, skipped = [], []
    with closing(in_order(digest, pictures)) as results:
        for result in _reported("reading", results, len(pictures), progress):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                digested.append(result)
    return digested, skipped


def _fill(
    digested: Sequence[_Digested], size: int, wanted: Wanted, halves: bool, folder: Path
) -> None:
    """Write pixels and index. Without ``channels``, in colour first, until all have been seen."""
    channels = wanted.channels
    skipped: dict[int, str] = {}
    written, grey = 0, True
    with (
        (folder / PIXELS).open("wb") as stream,
        _quiet(),
        closing(in_order(partial(_decoded, size, halves), digested)) as results,
    ):
        for row, result in enumerate(
            _reported("decoding", results, len(digested), wanted.progress)
        ):
            if isinstance(result, str):
                skipped[row] = result
                continue
            grey = grey and is_grey(result)
            stream.write(with_channels(result, channels or 3).tobytes())
            written += 1
        _settle(stream)
    shape = (written, size, size * (1 + halves), channels or 3)
    if channels is None and grey:
        shape = _keep_one_channel(folder / PIXELS, shape)
    with (folder / INDEX).open("wb") as stream:
        stream.write(json.dumps({"shape": shape, "skipped": skipped}).encode())
        _settle(stream)


def _decoded(size: int, halves: bool, entry: _Digested) -> Images | str:
    """The pixels as ``decode`` gives them, or why there are none."""
    try:
        content = entry.picture.read()
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise Unreadable("it is another file now")
    except Unreadable as error:
        name = entry.picture.name
        raise DataError(f"{name} changed while it was being read ({error}): start again") from error
    try:
        return decode(content, size, halves=halves)
    except Undecodable as error:
        return str(error)


def _keep_one_channel(path: Path, shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Rewrite grey pixels that were written as RGB."""
    colour, single = path.rename(path.with_suffix(".rgb")), (*shape[:3], 1)
    images = _map(colour, shape)
    with path.open("wb") as stream:
        for start in range(0, len(images), COPY_ROWS):
            stream.write(images[start : start + COPY_ROWS, :, :, :1].tobytes())
        _settle(stream)
    del images  # unmaps it, which some platforms ask for before a file may go
    colour.unlink()
    return single


def _is_whole(home: Path) -> bool:
    try:
        shape = json.loads((home / INDEX).read_bytes())["shape"]
        return bool((home / PIXELS).stat().st_size == math.prod(shape))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _open(home: Path) -> tuple[Images, dict[int, str]]:
    """The images, and the rows that gave none with the reason."""
    index: dict[str, Any] = json.loads((home / INDEX).read_bytes())
    count, height, width, channels = index["shape"]
    images = _map(home / PIXELS, (count, height, width, channels))
    return images, {int(row): str(reason) for row, reason in index["skipped"].items()}


def _map(path: Path, shape: tuple[int, int, int, int]) -> Images:
    if not shape[0]:
        return np.empty(shape, np.uint8)  # an empty file cannot be mapped
    return np.memmap(path, np.uint8, "r", shape=shape)


def _settle(stream: BinaryIO) -> None:
    """Bring to disk what was written, before the rename that makes it count."""
    stream.flush()
    os.fsync(stream.fileno())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings of odd metadata and large pictures: files are judged here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reported(
    step: str, results: Iterator[Result], total: int, progress: Progress
) -> Iterator[Result]:
    for done, result in enumerate(results, 1):
        yield result
        if done % REPORT_EVERY == 0 or done == total:
            progress(step, done, total)
