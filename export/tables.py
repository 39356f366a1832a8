"""Bundles and measurements as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from export.bundle import Bundle, BundleError, load_bundle
from export.manifest import FixedSize, Graph, Input, Label, Manifest, Parity, Provenance, Scalar
from export.origin import FLOAT_LIMIT, LEVEL_LIMIT, SHARE_LIMIT


def parity_table(parity: Parity) -> Table:
    """Each measurement beside its limit."""
    limit = _float(FLOAT_LIMIT)
    table = Table("largest difference", "measured", "limit")
    if parity.onnx_max_abs is not None:
        table.add_row("ONNX Runtime, before quantisation", _float(parity.onnx_max_abs), limit)
    if parity.torchscript_max_abs is not None:
        table.add_row("TorchScript, before quantisation", _float(parity.torchscript_max_abs), limit)
    table.add_row("levels of 255", str(parity.max_levels), str(LEVEL_LIMIT))
    table.add_row("values that differ", f"{parity.pixels_differing:.3%}", f"{SHARE_LIMIT:.1%}")
    table.add_row("a row alone, or beside others", _float(parity.row_max_abs), limit)
    return table


def _float(value: float) -> str:
    return f"{value:.1e}" if value else "none"


def files_table(manifest: Manifest) -> Table:
    """The files of a bundle, and their sizes."""
    table = Table("file")
    table.add_column("bytes", justify="right")
    for path, file in manifest.files.items():
        table.add_row(path, f"{file.size_bytes:,}")
    table.add_row("in all", f"{total_bytes(manifest):,}")
    return table


def total_bytes(manifest: Manifest) -> int:
    """Of all files, the manifest left out."""
    return sum(file.size_bytes for file in manifest.files.values())


def bundles_table(paths: Sequence[Path]) -> tuple[Table, list[str]]:
    """A line per bundle, and the reasons why some cannot be read."""
    table = Table()
    for heading in ("name", "version", "tasks", "pixels", "classes", "data", "MiB"):
        table.add_column(heading, overflow="fold")
    table.add_column("exported", no_wrap=True)
    reasons = []
    for path in paths:
        try:
            row = _bundle_row(load_bundle(path, verify=False).manifest)
        except BundleError as error:
            row = (path.parent.name, path.name, "unreadable")
            reasons.append(str(error))
        table.add_row(*map(Text, row))
    return table, reasons


def _bundle_row(manifest: Manifest) -> tuple[str, ...]:
    labels = [e for graph in manifest.graphs.values() for e in graph.inputs if isinstance(e, Label)]
    return (
        manifest.name,
        str(manifest.version),
        ", ".join(manifest.tasks),
        _size(manifest),
        str(len(labels[0].classes)) if labels else "",
        manifest.provenance.dataset if manifest.provenance else "",
        f"{total_bytes(manifest) / 2**20:.2f}",
        manifest.created_utc[:10],
    )


def manifest_table(bundle: Bundle) -> Table:
    """The facts of one bundle."""
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, fact in _facts(bundle.manifest):
        table.add_row(Text(name), Text(fact))  # as it is: a class may be called [red]
    table.add_row("digest", bundle.digest)
    return table


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "name", f"{manifest.name}, version {manifest.version}"
    yield "description", manifest.description
    yield "tasks", ", ".join(f"{task} ({graph})" for task, graph in manifest.tasks.items())
    for name, graph in manifest.graphs.items():
        yield f"graph {name}", _signature(graph)
    yield "pictures", _size(manifest)
    yield "licence", f"{manifest.licence.name}. {manifest.licence.attribution}"
    if made := manifest.provenance:
        yield from _training(made)
        yield "commit", made.git_commit or "unknown"
        yield "versions", ", ".join(f"{name} {number}" for name, number in made.versions.items())
    for quality in manifest.quality:
        yield quality.metric, f"{quality.value:.4g} ({quality.samples:,} samples)"
    if manifest.diagnosis:
        yield "diagnosis", f"{manifest.diagnosis.verdict} {manifest.diagnosis.detail}"
    yield "opset", str(manifest.opset)
    yield "exported", manifest.created_utc


def _training(made: Provenance) -> Iterator[tuple[str, str]]:
    if made.images_seen is None or made.dataset_images is None:
        yield "system", f"{made.system}, trained elsewhere"
        yield "trained on", made.dataset or "unknown"
    else:
        yield "system", f"{made.system}, preset {made.preset}, seed {made.seed}"
        seen = f"{made.dataset_images:,} images; {made.images_seen:,} seen"
        yield "trained on", f"{made.dataset}, {seen}"


def _size(manifest: Manifest) -> str:
    size = manifest.size
    if isinstance(size, FixedSize):
        return f"{size.height}x{size.width}"
    return f"{size.min_side} to {size.max_side} a side"


def _signature(graph: Graph) -> str:
    inputs = "\n".join(f"{entry.role} {entry.name}: {_detail(entry)}" for entry in graph.inputs)
    return f"{inputs}\n-> {', '.join(f'{one.kind} {one.name}' for one in graph.outputs)}"


def _detail(entry: Input) -> str:
    match entry:
        case Label(classes=classes):
            return ", ".join(classes)
        case Scalar(low=low, high=high, default=default, description=description):
            return f"{low:g} to {high:g}, default {default:g}. {description}"
    facts = entry.model_dump(exclude={"role", "name"}).items()
    return ", ".join(f"{key} {value}" for key, value in facts)
