"""From a trained run, or whatever was built, to a bundle in a models folder, or to nothing at all.

Everything is built and checked in memory. What passed is written into a hidden folder beside its
place, the manifest last, and the whole is renamed: no reader ever sees a part of a bundle, and an
export that fails or is interrupted leaves no trace.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import operator
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from export.build import Built, Progress, build
from export.bundle import Bundle, write_manifest
from export.diagnosed import diagnosis, key_metrics, read_diagnosis
from export.errors import BundleExists, InvalidChoice, NotWritable
from export.manifest import (
    Diagnosis,
    File,
    Graph,
    Label,
    Licence,
    Manifest,
    Name,
    Provenance,
    Quality,
    Size,
    Task,
)
from export.preview import draw_preview
from export.provenance import licence, provenance
from export.rows import sizes
from export.sampling import Generator
from export.servable import Offer, offer
from export.tokens import find_words

if TYPE_CHECKING:
    from training.run import LoadedRun

PREVIEW = "preview.png"


def export_bundle(
    run: LoadedRun,
    models: Path,
    name: str,
    version: int | None = None,
    *,
    torchscript: bool = True,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Write ``<models>/<name>/<version>``.

    Args:
        run: trained, in eval mode.
        models: the folder that a service is given.
        name: of the model.
        version: the next free one when None.
        torchscript: whether to write the graphs as TorchScript too.
        progress: is told each step as it begins.

    Raises:
        InvalidChoice, BundleExists, NotServable, ConversionFailed, ParityError, NotWritable.
    """
    version = choose_version(models, name, version)
    offered, record = offer(run), read_diagnosis(run)
    built = {
        graph: build(servable, offered.size, torchscript=torchscript, progress=progress)
        for graph, servable in offered.graphs.items()
    }
    draft = Draft(
        graphs=built,
        tasks=offered.tasks,
        size=offered.size,
        description=describe(run, offered),
        licence=licence(run.dataset),
        provenance=provenance(run),
        quality=key_metrics(record),
        diagnosis=diagnosis(record),
        files=offered.files,
    )
    return publish(draft, models, name, version, progress)


@dataclass(frozen=True)
class Draft:
    """A bundle but for its name, version and place."""

    graphs: Mapping[str, Built]
    tasks: Mapping[Task, str]
    size: Size
    description: str
    licence: Licence
    provenance: Provenance
    quality: tuple[Quality, ...] = ()
    diagnosis: Diagnosis | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


def publish(draft: Draft, models: Path, name: str, version: int, progress: Progress) -> Bundle:
    """Write ``<models>/<name>/<version>`` of what was built and checked.

    Raises:
        BundleExists, NotWritable.
    """
    graphs = {graph: _declare(graph, built) for graph, built in draft.graphs.items()}
    files = {**dict(_graph_files(graphs, draft.graphs)), **draft.files}
    if "generate" in draft.tasks:
        progress("drawing the preview")
        files[PREVIEW] = _preview(draft)
    findings = (one.findings for one in draft.graphs.values())
    manifest = Manifest(
        name=name,
        version=version,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        description=draft.description,
        tasks=dict(draft.tasks),
        graphs=graphs,
        size=draft.size,
        files={path: _fingerprint(content) for path, content in files.items()},
        preview=PREVIEW if PREVIEW in files else None,
        opset=max(one.opset for one in draft.graphs.values()),
        parity=functools.reduce(operator.or_, findings).record(),
        licence=draft.licence,
        provenance=draft.provenance,
        quality=draft.quality,
        diagnosis=draft.diagnosis,
    )
    return place(models, manifest, files)


def choose_version(models: Path, name: str, version: int | None) -> int:
    """The version asked for, or the next free one.

    Raises:
        InvalidChoice: not a name, or not a version.
        BundleExists: it is taken.
    """
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise InvalidChoice(
            f"{name!r} is not a model's name: at most 64 of a-z 0-9 . _ - and first a letter or "
            "a digit"
        ) from None
    folder = models / name
    taken = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    numbers = [int(entry) for entry in taken if entry.isdecimal()]
    if version is None:
        return max(numbers, default=0) + 1
    if version < 1:
        raise InvalidChoice(f"version {version} must be 1 or more")
    if version in numbers:
        raise BundleExists(f"{folder / str(version)} exists: leave --version out for the next")
    return version


def describe(run: LoadedRun, offered: Offer) -> str:
    """A line for people who choose a model."""
    height, width = sizes(offered.size)[0]
    inputs = (entry for graph in offered.graphs.values() for entry in graph.inputs)
    classes = next((len(entry.classes) for entry in inputs if isinstance(entry, Label)), 0)
    kinds = f", {classes} classes" if classes else ""
    system, data = run.config.recipe.system, run.dataset["name"]
    return f"{system} trained on {data}: {height}x{width} pictures{kinds}."


def place(models: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle's files and manifest: all of it appears at once, or nothing does.

    Raises:
        BundleExists: somebody else has published this version meanwhile.
        NotWritable: the folder cannot be written to.
    """
    final = models / manifest.name / str(manifest.version)
    try:
        with _staging(final.parent) as staging:
            for relative, content in files.items():
                _write(staging / relative, content)
            written = write_manifest(staging, manifest)
            staging.rename(final)
    except OSError as error:
        if final.exists():
            raise BundleExists(f"{final} was published meanwhile: export again") from error
        raise NotWritable(f"cannot write {final}: {error.strerror or error}") from error
    return Bundle(final, written.manifest, written.digest)


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A hidden folder in ``folder``; if it is not renamed, it goes, with the folders made for it.

    Its name is no number, so that no reader takes it for a version.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    staging = folder / f".partial-{secrets.token_hex(4)}"
    try:
        staging.mkdir(parents=True)
        yield staging
    except BaseException:  # Ctrl-C too
        shutil.rmtree(staging, ignore_errors=True)
        for path in made:
            with contextlib.suppress(OSError):  # somebody else's files are in it by now
                path.rmdir()
        raise


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _declare(name: str, built: Built) -> Graph:
    return Graph(
        inputs=built.inputs,
        outputs=built.outputs,
        onnx=f"{name}.onnx",
        torchscript=f"{name}.pt" if built.torchscript is not None else None,
    )


def _graph_files(
    graphs: Mapping[str, Graph], built: Mapping[str, Built]
) -> Iterator[tuple[str, bytes]]:
    for name, graph in graphs.items():
        yield graph.onnx, built[name].onnx
        content = built[name].torchscript
        if graph.torchscript is not None and content is not None:
            yield graph.torchscript, content


def _preview(draft: Draft) -> bytes:
    built = draft.graphs[draft.tasks["generate"]]
    words = find_words(built.inputs, draft.files.__getitem__)
    size = sizes(draft.size)[0]
    return draw_preview(Generator(built.run, built.inputs, built.outputs, *size, words))


def _fingerprint(content: bytes) -> File:
    return File(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
