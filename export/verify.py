"""Does a bundle do, here, what its manifest says? Needs ONNX Runtime, and no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from export.bundle import Bundle, load_bundle
from export.declared import fault, finished
from export.errors import VerifyFailed
from export.manifest import Graph
from export.parity import Case, check_rows, deviation
from export.preview import layouts
from export.rows import Run, sizes, varied_rows
from export.runtime import onnx_run
from export.sampling import Generator

_ROWS = 3


def verify(path: Path) -> Iterator[str]:
    """Check a bundle step by step; yields what held, in words.

    Raises:
        BundleError: the manifest or a checksum is wrong.
        RuntimeFailed: a graph does not load, or does not take the declared inputs.
        VerifyFailed: a graph gives something else than declared, or draws another preview.
        ParityError: a row depends on its neighbours.
    """
    bundle = load_bundle(path)
    yield f"{len(bundle.manifest.files)} files have their checksums"
    runs: dict[str, Run] = {}
    for name, graph in bundle.manifest.graphs.items():
        runs[name] = onnx_run(bundle.file(graph.onnx))
        _check_outputs(name, graph, runs[name], bundle)
        yield f"graph {name} loads and gives what it declares"
        rows = check_rows(name, runs[name], Case(graph.inputs, sizes(bundle.manifest.size)))
        how = "exactly" if rows.differing == 0 and rows.max_abs == 0 else f"to {rows}"
        yield f"graph {name} gives a row alone and in any batch the same, {how}"
    if bundle.manifest.preview and "generate" in bundle.manifest.tasks:
        yield _check_preview(bundle, runs[bundle.manifest.tasks["generate"]])


def _check_outputs(name: str, graph: Graph, run: Run, bundle: Bundle) -> None:
    size = sizes(bundle.manifest.size)[0]
    given = run(varied_rows(graph.inputs, range(_ROWS), *size))
    expected = {output.name: finished(output, *size) for output in graph.outputs}
    if what := fault(expected, given, _ROWS):
        raise VerifyFailed(f"graph {name}: {what}: export it again")


def _check_preview(bundle: Bundle, run: Run) -> str:
    """Draw the preview again: the same seeds must still be the same pictures."""
    assert bundle.manifest.preview is not None
    graph = bundle.manifest.graph("generate")
    with Image.open(bundle.file(bundle.manifest.preview)) as stored:
        expected = np.asarray(stored)
    size = sizes(bundle.manifest.size)[0]
    words = bundle.words.get(bundle.manifest.tasks["generate"])
    for grid in layouts(Generator(run, graph.inputs, graph.outputs, *size, words)):
        drawn = np.asarray(grid)
        if drawn.shape == expected.shape:
            difference = deviation({"preview": expected}, {"preview": drawn})
            if not difference.within:
                raise VerifyFailed(f"the seeds of the preview give other pictures: {difference}")
            return "the preview's seeds give the preview's pictures"
    return "the preview was not drawn by this release: left alone"
