"""A servable as the files of a bundle, in memory and checked: nothing that fails is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from export.manifest import Size
from export.parity import Case, Findings, check_generator, measure
from export.rows import Run, sizes
from export.runtime import onnx_run
from export.servable import Probe, Servable, torch_run
from export.to_onnx import example, opset, published, to_onnx
from export.to_torchscript import load_torchscript, to_torchscript

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """One graph, ready to be written, and how near it is to the trained generator."""

    onnx: bytes
    torchscript: bytes | None
    opset: int
    findings: Findings
    run: Run  # the published graph


def build(servable: Servable, size: Size, *, torchscript: bool, progress: Progress) -> Built:
    """Convert and compare.

    Raises:
        ConversionFailed: torch cannot export or trace the network.
        ParityError: the result is not the generator, or a row depends on its neighbours.
    """
    case, probe = Case(servable.inputs, sizes(size)), Probe(servable)
    eager = torch_run(probe, servable.inputs, probe.names)
    progress("checking the generator")
    trials = check_generator(eager, case)
    progress("converting to ONNX")
    full = to_onnx(servable, size)
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
    return Built(onnx, script, opset(full), findings, runs[1])
