"""Whatever can be sampled, by the name or path that a person gives: a run or a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from export.bundle import MANIFEST, load_bundle
from export.catalogue import find
from export.errors import InvalidChoice
from export.manifest import Task
from export.rows import sizes
from export.runtime import onnx_run
from export.sampling import Generator
from export.tokens import find_words


def open_generator(source: str, folders: Sequence[Path], version: int | None) -> Generator:
    """What a run or a bundle generates with: torch for a run, ONNX Runtime for a bundle.

    Args:
        source: a run folder, a bundle's path, or a model's name.
        folders: where to look for a name.
        version: of a bundle; the newest when None.

    Raises:
        UnknownBundle, BundleError, TrainingError: it is not there, or cannot be read.
        InvalidChoice: it generates nothing.
    """
    path = Path(source)
    if (path / "config.yaml").is_file() and not (path / MANIFEST).is_file():
        return _of_run(path)
    bundle = load_bundle(find(source, folders, version))
    manifest = bundle.manifest
    name = _generating(source, manifest.tasks)
    graph = manifest.graphs[name]
    run = onnx_run(bundle.file(graph.onnx))
    words = bundle.words.get(name)
    return Generator(run, graph.inputs, graph.outputs, *sizes(manifest.size)[0], words)


def _of_run(path: Path) -> Generator:
    from export.servable import offer, torch_run  # torch, which no bundle needs
    from training.run import load_run

    offered = offer(load_run(path))
    servable = offered.graphs[_generating(str(path), offered.tasks)]
    run = torch_run(servable, servable.inputs, servable.names)
    words = find_words(servable.inputs, offered.files.__getitem__)
    return Generator(run, servable.inputs, servable.outputs, *sizes(offered.size)[0], words)


def _generating(source: str, tasks: Mapping[Task, str]) -> str:
    if "generate" not in tasks:
        raise InvalidChoice(f"{source} does not generate, it can {', '.join(tasks)}")
    return tasks["generate"]
