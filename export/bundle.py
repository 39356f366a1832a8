"""The contract on disk: how to read and write a bundle.

A bundle is a folder ``<models>/<name>/<version>/``: ``manifest.json`` (written last, by rename: a
folder without a manifest is not a bundle), one ONNX graph per entry point, the same as
TorchScript unless left out, and a preview image. What the manifest says is in ``manifest.py``.

Errors::

    BundleError
      x ManifestInvalid     manifest.json is missing, is not JSON, or breaks the schema
      x UnsupportedSchema   written by a Ganymede too old or too new for this one
      x ChecksumMismatch    a file is missing, or differs from the manifest's SHA-256 or size
      x ParityExceeded      its parity record is past the limits: it is not what was trained
      x TextUnreadable      its tokenizer is broken, or the package that reads it is missing
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from export.manifest import SCHEMA_VERSION, File, Manifest
from export.tokens import TokenizerUnusable, Words, find_words

MANIFEST = "manifest.json"


class BundleError(Exception):
    """A folder cannot be used as a bundle; the message says what to repair."""


class ManifestInvalid(BundleError):
    """The manifest is missing, is not JSON, or breaks the schema."""


class UnsupportedSchema(BundleError):
    """The manifest's schema version is not one that this release reads."""


class ChecksumMismatch(BundleError):
    """A file is missing, or its size or SHA-256 is not the manifest's."""


class ParityExceeded(BundleError):
    """The graphs were measured to be something else than the generator that was trained."""


class TextUnreadable(BundleError):
    """What turns texts into numbers is broken, or the package that reads it is missing."""


# One entry per older schema that is still readable: it turns that manifest into the next one.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. ``digest`` is the SHA-256 of the manifest, hence of every file."""

    path: Path
    manifest: Manifest
    digest: str

    def file(self, relative: str) -> Path:
        """The path on disk of a file that the manifest lists."""
        return self.path / relative

    @cached_property
    def words(self) -> Mapping[str, Words]:
        """By graph, what those that read a text understand.

        Raises:
            TextUnreadable: their tokenizer is broken, or its package is missing.
        """
        graphs = self.manifest.graphs.items()
        try:
            found = ((name, find_words(graph.inputs, self._read)) for name, graph in graphs)
            return {name: words for name, words in found if words is not None}
        except (OSError, TokenizerUnusable) as error:
            raise TextUnreadable(f"{self.path}: {error}") from error

    def _read(self, relative: str) -> bytes:
        return self.file(relative).read_bytes()


def load_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Read a bundle's manifest and, with ``verify``, check its parity record and every file.

    Raises:
        ManifestInvalid, UnsupportedSchema, ParityExceeded, ChecksumMismatch, TextUnreadable.
    """
    try:
        raw = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ManifestInvalid(f"{path} holds no {MANIFEST}: it is not a bundle") from None
    except OSError as error:
        raise ManifestInvalid(f"{path / MANIFEST} cannot be read: {error.strerror}") from error
    bundle = Bundle(path, _parse(raw, path), hashlib.sha256(raw).hexdigest())
    if verify:
        verify_parity(bundle)
        verify_files(bundle)
        bundle.words  # noqa: B018 - raises
    return bundle


def _parse(raw: bytes, path: Path) -> Manifest:
    try:
        data = json.loads(raw)
        version = data["schema_version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ManifestInvalid(f"{path / MANIFEST} is not a manifest: {error!r}") from error
    while isinstance(version, int) and version in UPGRADES:
        data = UPGRADES[version](data)
        version = data["schema_version"]
    if version != SCHEMA_VERSION:
        raise UnsupportedSchema(
            f"{path / MANIFEST} has schema_version {version!r}; this release reads "
            f"{min([SCHEMA_VERSION, *UPGRADES])} to {SCHEMA_VERSION}: export the run again"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults]
        raise ManifestInvalid(f"{path / MANIFEST}: " + "\n  ".join(lines)) from error


def verify_parity(bundle: Bundle) -> None:
    """Raise ParityExceeded when there is a parity record, and it is past the limits."""
    parity = bundle.manifest.parity
    if parity is not None and parity.excess:
        raise ParityExceeded(
            f"{bundle.path / MANIFEST}: by its parity record the graphs are not the generator that "
            f"was trained ({'; '.join(parity.excess)}): export it again"
        )


def verify_files(bundle: Bundle) -> None:
    """Raise ChecksumMismatch unless every listed file is there and is the one that was written."""
    for relative, expected in bundle.manifest.files.items():
        path = bundle.file(relative)
        if not path.is_file():
            raise ChecksumMismatch(f"{path} is missing: export or copy the bundle again")
        if fingerprint(path) != expected:
            raise ChecksumMismatch(f"{path} is not the file that was exported: copy it again")


def fingerprint(path: Path) -> File:
    """Size and SHA-256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return File(sha256=digest, size_bytes=path.stat().st_size)


def write_manifest(path: Path, manifest: Manifest) -> Bundle:
    """Turn a folder of files into a bundle: the manifest is written last, by rename."""
    raw = (manifest.model_dump_json(indent=1) + "\n").encode()
    partial = path / f".{MANIFEST}.partial"
    with partial.open("wb") as stream:
        stream.write(raw)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path / MANIFEST)
    return Bundle(path, manifest, hashlib.sha256(raw).hexdigest())


def find_bundles(models: Path) -> list[Path]:
    """The bundle folders ``<models>/<name>/<version>``, by name, then by version number."""
    found = [manifest.parent for manifest in models.glob(f"*/*/{MANIFEST}")]
    numbered = [path for path in found if path.name.isdecimal()]
    return sorted(numbered, key=lambda path: (path.parent.name, int(path.name)))
