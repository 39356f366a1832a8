"""Bundles of generators that were not trained here: a network or an ONNX file, and its spec.

They are built, checked and published by what does so for runs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from export.build import Built, Progress, build, build_graph
from export.bundle import Bundle
from export.manifest import Provenance
from export.own_graph import read_graph
from export.own_module import Source, declared, load_network
from export.own_tail import finish
from export.provenance import git_commit, versions
from export.publish import Draft, choose_version, publish
from export.spec import Spec


def export_module(
    source: Source,
    spec: Spec,
    models: Path,
    name: str,
    version: int | None = None,
    *,
    torchscript: bool = True,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Bundle the network that a user's function makes; runs their code.

    Args:
        source: the function.
        spec: of the network.
        models: the folder that a service is given.
        name: of the model.
        version: the next free one when None.
        torchscript: whether to write the graph as TorchScript too.
        progress: is told each step as it begins.

    Raises:
        ExportError: any but UnknownBundle and VerifyFailed.
    """
    version = choose_version(models, name, version)
    progress("running the module")
    servable = declared(load_network(source), spec)
    built = build(servable, spec.size, torchscript=torchscript, progress=progress)
    made = _provenance("module", str(source), source.path, spec)
    return publish(_draft(built, spec, made), models, name, version, progress)


def export_graph(
    path: Path,
    spec: Spec,
    models: Path,
    name: str,
    version: int | None = None,
    *,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Bundle an ONNX file; the arguments are as for ``export_module``.

    Raises:
        ExportError: any but ModuleFailed, UnknownBundle and VerifyFailed.
    """
    version = choose_version(models, name, version)
    progress("reading the graph")
    built = build_graph(finish(read_graph(path, spec), spec), spec, progress)
    made = _provenance("onnx", path.name, path, spec)
    return publish(_draft(built, spec, made), models, name, version, progress)


def _draft(built: Built, spec: Spec, made: Provenance) -> Draft:
    graph = spec.tasks[0]
    return Draft(
        graphs={graph: built},
        tasks=dict.fromkeys(spec.tasks, graph),
        size=spec.size,
        description=spec.description,
        licence=spec.licence,
        provenance=made,
    )


def _provenance(system: str, source: str, path: Path, spec: Spec) -> Provenance:
    """What is known of a generator trained elsewhere: the file that it came in, and its spec."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Provenance(
        preset="own",
        system=system,
        dataset=spec.data,
        dataset_fingerprint=None,
        dataset_images=None,
        images_seen=None,
        seed=None,
        git_commit=git_commit(),
        config={"source": source, "sha256": digest, "spec": spec.model_dump(mode="json")},
        versions=versions(),
    )
