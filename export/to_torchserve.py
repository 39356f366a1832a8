"""A bundle as a TorchServe archive (``.mar``): a zip that needs nothing of ours to be installed.

In it are the bundle's manifest, TorchScript and tokenizer, the handler of ``deploy/torchserve``,
and those files of this package and of the service that the handler imports, so that it reads
requests, draws and replies exactly as the service of this release does. The zip is written here,
not by ``torch-model-archiver``, which would lay all files into one folder. The same bundle is the
same archive, byte by byte.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from export.bundle import MANIFEST, Bundle, verify_files
from export.errors import NotPackable, NotWritable
from export.manifest import Manifest

ANSWERED = ("generate", "translate")
"""The tasks that the handler answers."""

ENTRY = "ganymede_handler.py"
HANDLER = (ENTRY, "ganymede_graphs.py", "ganymede_requests.py")
SETTINGS, REQUIREMENTS = "model-config.yaml", "requirements.txt"
FOR_TEXTS = "requirements-text.txt"
"""What the handler needs besides, where a graph reads a text."""

OURS = (
    "export/__init__.py",
    "export/bundle.py",
    "export/dimension.py",
    "export/draw.py",
    "export/errors.py",
    "export/fields.py",
    "export/manifest.py",
    "export/origin.py",
    "export/size.py",
    "export/to_torchscript.py",
    "export/tokens.py",
    "service/__init__.py",
    "service/errors.py",
    "service/fields.py",
    "service/fitting.py",
    "service/images/__init__.py",
    "service/images/colour.py",
    "service/images/decoding.py",
    "service/images/encoding.py",
    "service/images/pillow.py",
    "service/inputs.py",
    "service/negotiation.py",
    "service/parsing.py",
    "service/planning.py",
    "service/png.py",
    "service/replies.py",
    "service/rows.py",
    "service/schemas.py",
    "service/texts.py",
    "service/uploads.py",
)
"""What the handler imports of Ganymede, in the end; a test runs it with these alone."""

_TIME = (1980, 1, 1, 0, 0, 0)


def to_torchserve(bundle: Bundle, folder: Path) -> Path:
    """Write ``<folder>/<name>-<version>.mar``, in the place of one that is there.

    Raises:
        NotPackable: a graph that answers requests for pictures has no TorchScript, or none does.
        ChecksumMismatch: the bundle is not what was exported.
        NotWritable: the folder cannot be written.
    """
    manifest = bundle.manifest
    files = _files(manifest)
    verify_files(bundle)
    path = folder / f"{manifest.name}-{manifest.version}.mar"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", delete=False) as file:
            try:
                _write(zipfile.ZipFile(file, "w"), bundle, files)
                os.chmod(file.name, 0o644)  # others may be who serves it
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise NotWritable(f"cannot write {path}: {error.strerror or error}") from error
    return path


def handler_folder() -> Path:
    """The folder of the handler: beside this file in a wheel, ``deploy/`` in a checkout."""
    installed = Path(__file__).parent / "torchserve"
    return installed if installed.is_dir() else _root() / "deploy" / "torchserve"


def _root() -> Path:
    """The folder of our packages."""
    return Path(__file__).parent.parent


def _write(archive: zipfile.ZipFile, bundle: Bundle, files: list[str]) -> None:
    with archive:
        for name, content in _entries(bundle, files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def _entries(bundle: Bundle, files: list[str]) -> Iterator[tuple[str, bytes]]:
    """Names in the archive and what is there; TorchServe reads the first."""
    about = json.dumps(_about(bundle.manifest), indent=1) + "\n"
    yield "MAR-INF/MANIFEST.json", about.encode()
    for name in (SETTINGS, *HANDLER):
        yield name, (handler_folder() / name).read_bytes()
    needed = (REQUIREMENTS, FOR_TEXTS) if _tokenizers(bundle.manifest) else (REQUIREMENTS,)
    yield REQUIREMENTS, b"".join((handler_folder() / name).read_bytes() for name in needed)
    for name in OURS:
        yield name, (_root() / name).read_bytes()
    for name in (MANIFEST, *files):
        yield f"bundle/{name}", bundle.file(name).read_bytes()


def _about(manifest: Manifest) -> dict[str, object]:
    """The archive's own manifest, in TorchServe's words."""
    return {
        "createdOn": manifest.created_utc,
        "runtime": "python",
        "model": {
            "modelName": manifest.name,
            "modelVersion": str(manifest.version),
            "handler": ENTRY,
            "configFile": SETTINGS,
            "requirementsFile": REQUIREMENTS,
        },
        "archiverVersion": "0.12.0",
    }


def _tokenizers(manifest: Manifest) -> set[str]:
    """The files of graphs that read a text; a bundle is opened with all of them."""
    texts = (graph.text for graph in manifest.graphs.values())
    return {text.tokenizer for text in texts if text is not None}


def _files(manifest: Manifest) -> list[str]:
    """The TorchScript of the graphs that the handler answers with, and what reads their texts."""
    graphs = [manifest.graph(task) for task in ANSWERED if task in manifest.tasks]
    if not graphs:
        raise NotPackable(
            f"{manifest.name} does {', '.join(manifest.tasks)}, and TorchServe is given models "
            f"that {' or '.join(ANSWERED)}: serve it with `ganymede serve`"
        )
    if any(graph.torchscript is None for graph in graphs):
        raise NotPackable(
            f"{manifest.name} {manifest.version} was exported without TorchScript, which "
            "TorchServe runs: export its run again, without --no-torchscript"
        )
    scripts = {graph.torchscript for graph in graphs if graph.torchscript is not None}
    return sorted(scripts | _tokenizers(manifest))
