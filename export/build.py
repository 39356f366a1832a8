"""A graph of a bundle, in memory and checked: nothing that fails is written.

It begins as a network of torch (``build``), or as ONNX that somebody brought (``build_graph``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from onnx import ModelProto

from export.declared import fault, finished
from export.errors import RuntimeFailed, SpecMismatch
from export.manifest import Input, Output, Size
from export.parity import Case, Findings, check_generator, measure
from export.rows import Run, tried_sizes, varied_rows
from export.runtime import onnx_run
from export.servable import Probe, Servable, torch_run
from export.spec import Spec
from export.to_onnx import example, opset, published, to_onnx
from export.to_torchscript import load_torchscript, to_torchscript
from export.walk import refuse_randomness

Progress = Callable[[str], None]

_ROWS = 3


@dataclass(frozen=True)
class Built:
    """One graph, ready to be written, and how near it is to the trained generator."""

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    onnx: bytes
    torchscript: bytes | None
    opset: int
    findings: Findings
    run: Run  # the published graph


def build(servable: Servable, size: Size, *, torchscript: bool, progress: Progress) -> Built:
    """Convert and compare.

    Raises:
        ConversionFailed: torch cannot export or trace the network.
        GraphRefused: something in it draws numbers.
        ParityError: the result is not the generator, or a row depends on its neighbours.
    """
    case, probe = Case(servable.inputs, tried_sizes(size)), Probe(servable)
    eager = torch_run(probe, servable.inputs, probe.names)
    progress("checking the generator")
    trials = check_generator(eager, case)
    progress("converting to ONNX")
    full = to_onnx(servable, size)
    refuse_randomness(full)
    onnx = published(full).SerializeToString(deterministic=True)
    runs = [onnx_run(full.SerializeToString()), onnx_run(onnx)]
    scripts: list[Run] = []
    script = None
    if torchscript:
        progress("converting to TorchScript")
        rows = example(servable, size)
        script = to_torchscript(servable, rows)
        for module, names in (
            (to_torchscript(probe, rows), probe.names),
            (script, servable.names),
        ):
            scripts.append(torch_run(load_torchscript(module), servable.inputs, names))
    progress("comparing")
    findings = measure(trials, runs, scripts, case)
    return Built(servable.inputs, servable.outputs, onnx, script, opset(full), findings, runs[1])


def build_graph(full: ModelProto, spec: Spec, progress: Progress) -> Built:
    """Check a graph that is its own measure: finite, without randomness, rows independent.

    Args:
        full: as ``own_tail.finish`` gave it, with its float pictures.
        spec: of it.
        progress: is told each step as it begins.

    Raises:
        RuntimeFailed: ONNX Runtime cannot load the graph.
        SpecMismatch: it gives something else than declared.
        ParityError: a row depends on its neighbours, or on chance.
    """
    inputs, outputs = spec.declared_inputs, spec.declared_outputs
    case = Case(inputs, tried_sizes(spec.size))
    progress("checking the graph")
    onnx = published(full).SerializeToString(deterministic=True)
    reference, run = onnx_run(full.SerializeToString()), onnx_run(onnx)
    for size in case.sizes:
        _try(reference, spec, size)
    trials = check_generator(reference, case)
    progress("comparing")
    findings = measure(trials, [run], [], case)
    return Built(inputs, outputs, onnx, None, opset(full), replace(findings, onnx=None), run)


def _try(run: Run, spec: Spec, size: tuple[int, int]) -> None:
    try:
        given = run(varied_rows(spec.declared_inputs, range(_ROWS), *size))
    except RuntimeFailed as error:
        raise SpecMismatch(
            f"{error}: the graph does not take {_ROWS} rows of {size[0]}x{size[1]} as the spec "
            "declares them. Correct the spec, or export with a free batch (and free sizes)"
        ) from error
    expected = {output.name: finished(output, *size) for output in spec.declared_outputs}
    if what := fault(expected, given, _ROWS):
        raise SpecMismatch(f"{what} at {size[0]}x{size[1]}: correct the spec, or the graph")
