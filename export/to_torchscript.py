"""A servable as TorchScript. Upstream has deprecated it; all that knows of it is in this file."""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from export.errors import ConversionFailed


def to_torchscript(module: nn.Module, rows: tuple[Tensor, ...]) -> bytes:
    """The traced module as a file; it takes its inputs in order and returns a tuple.

    Raises:
        ConversionFailed: torch cannot trace the network.
    """
    traced = io.BytesIO()
    try:
        with _without_deprecation(), torch.no_grad():
            # Parity checks more than the tracer's own check and its warnings do.
            warnings.simplefilter("ignore", TracerWarning)
            script = torch.jit.trace(module, rows, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(script, traced)
    except Exception as error:  # whatever a network raises when it is traced
        reason = str(error).strip().partition("\n")[0]
        raise ConversionFailed(
            f"torch cannot trace the generator: {reason} (--no-torchscript leaves it out)"
        ) from error
    return _without_sources(traced.getvalue())


def load_torchscript(file: bytes) -> torch.jit.ScriptModule:
    """A file made here as a module."""
    with _without_deprecation():
        module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            io.BytesIO(file)
        )
    return module


def _without_sources(file: bytes) -> bytes:
    """The archive without its debug records, which hold stack traces with local paths."""
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as full, zipfile.ZipFile(kept, "w") as stripped:
        for record in full.infolist():
            if not record.filename.endswith(".debug_pkl"):
                stripped.writestr(zipfile.ZipInfo(record.filename), full.read(record))
    return kept.getvalue()


@contextlib.contextmanager
def _without_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore",
            message=r"`torch\.jit\.(trace|trace_method|load|save)` is deprecated",
            category=DeprecationWarning,
        )
        yield
