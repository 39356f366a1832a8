"""A graph run by ONNX Runtime, as the service will run it. Needs neither torch nor onnx."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from export.errors import MissingPackage, RuntimeFailed
from export.rows import Rows, Run


def onnxruntime() -> ModuleType:
    """The onnxruntime module.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise MissingPackage(
            "ONNX Runtime is not installed: pip install onnxruntime, or for CUDA "
            "'onnxruntime-gpu[cuda,cudnn]'"
        ) from error
    module: ModuleType = runtime
    return module


def onnx_run(graph: bytes | Path) -> Run:
    """An ONNX graph as a function of arrays, on the CPU.

    Args:
        graph: the file, or what is in it.

    Raises:
        MissingPackage: ONNX Runtime is not installed.
        RuntimeFailed: it cannot load the graph; from the function: it cannot run it.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # fatal: what fails is raised, and told once
    what, model = ("the graph", graph) if isinstance(graph, bytes) else (graph, str(graph))
    try:
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise RuntimeFailed(f"ONNX Runtime cannot load {what}: {error}") from error
    names = [output.name for output in session.get_outputs()]

    def run(rows: Rows) -> Rows:
        try:
            return dict(zip(names, session.run(names, rows), strict=True))
        except Exception as error:
            raise RuntimeFailed(f"ONNX Runtime cannot run {what}: {error}") from error

    return run
