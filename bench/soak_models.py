"""What the soak serves: the starter, two versions of what starts from pictures, and what reads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from bench.soak_graphs import ANY_SIZE, ONE_SIZE, OPSET, SAYS, STARTS, TOKENIZER, model, tokenizer
from export.bundle import Bundle, fingerprint, load_bundle, write_manifest
from export.manifest import Graph, Licence, Manifest, Size, Task
from service.config import starter_folder

STARTER, PICTURES, READER = "fashion", "grained", "said"
VERSIONS = (1, 2)  # of PICTURES


def make_models(folder: Path) -> list[Bundle]:
    """Write every model that is served into ``folder``."""
    shutil.copytree(starter_folder() / STARTER, folder / STARTER)
    starters = [load_bundle(path) for path in sorted((folder / STARTER).iterdir())]
    made = [_bundle(folder / PICTURES, version, STARTS, ANY_SIZE, {}) for version in VERSIONS]
    return [*starters, *made, make_reader(folder)]


def make_reader(folder: Path) -> Bundle:
    """Write the model that reads texts."""
    return _bundle(folder / READER, 1, SAYS, ONE_SIZE, {TOKENIZER: tokenizer()})


def _bundle(
    folder: Path, version: int, graphs: Mapping[Task, Graph], size: Size, files: Mapping[str, bytes]
) -> Bundle:
    path = folder / str(version)
    path.mkdir(parents=True)
    contents = dict(files)
    for task, graph in graphs.items():
        contents[graph.onnx] = model(task, graph, version).SerializeToString()
    for name, content in contents.items():
        (path / name).write_bytes(content)
    manifest = Manifest(
        name=folder.name,
        version=version,
        created_utc="2026-01-01T00:00:00Z",
        description="A model for the soak.",
        tasks={task: task for task in graphs},
        graphs=dict(graphs),
        size=size,
        files={name: fingerprint(path / name) for name in contents},
        opset=OPSET,
        licence=Licence(name="CC0-1.0"),
    )
    return write_manifest(path, manifest)
