"""Which device is used: asked of the driver and tried by a run, never a silent fallback."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import logging
import os
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import numpy as np
import onnxruntime as ort

from service.config import RuntimeUnusable
from service.onnx_runtime.providers import NAMES, Gpu, Provider, execution_providers

logger = logging.getLogger(__name__)

Asked = Literal["auto", "cpu", "cuda", "tensorrt"]

_GPU_WHEEL = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
# y = -x for one float32: what a device must be able to run to be believed.
_PROBE = (
    b'\x08\x07:2\n\x0b\n\x01x\x12\x01y"\x03Neg\x12\x01pZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n'
    b"\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
_DRIVER = "libcuda.so.1"
_SILENT, _WARNING = 4, 2  # severities of ONNX Runtime's own log


def choose_provider(asked: Asked, gpus: Sequence[int] | None = None) -> Provider:
    """The provider to use; never a silent fallback from what was asked for by name.

    Args:
        asked: auto is CUDA where it works, else the CPU.
        gpus: that must work, by number; None is whatever there is.

    Raises:
        RuntimeUnusable: what was asked for does not work, or ONNX Runtime is installed twice.
    """
    if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        raise RuntimeUnusable(
            "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files. "
            "Repair: pip uninstall --yes onnxruntime onnxruntime-gpu, then "
            f"{_GPU_WHEEL} (CUDA) or pip install onnxruntime"
        )
    if asked == "cpu":
        return "cpu"
    provider: Provider = "tensorrt" if asked == "tensorrt" else "cuda"
    obstacle = _obstacle(provider, gpus)
    if obstacle is None:
        return provider
    if asked == "auto" and gpus is None:
        logger.info("provider auto is the CPU: %s", obstacle)
        return "cpu"
    wanted = f"provider {asked}" if asked != "auto" else f"GPU {', '.join(map(str, gpus or ()))}"
    raise RuntimeUnusable(
        f"{wanted} was asked for, but {obstacle}; repair that, or set GANYMEDE_PROVIDER=cpu"
    )


def used_gpus(gpus: Sequence[int] | None) -> tuple[int, ...]:
    """The GPUs to run on: those asked for, else every one that CUDA shows."""
    return tuple(range(visible_gpus() or 1)) if gpus is None else tuple(gpus)


def visible_gpus() -> int | None:
    """How many GPUs CUDA shows to this process; None where there is no driver.

    Asked of NVIDIA's driver, as CUDA itself asks it, so that CUDA_VISIBLE_DEVICES counts: ONNX
    Runtime has no call that tells.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _obstacle(provider: Provider, gpus: Sequence[int] | None) -> str | None:
    """Why a GPU cannot be used, or None when a graph ran on each."""
    if NAMES[provider] not in ort.get_available_providers():
        return (
            "this ONNX Runtime is built without it (pip uninstall --yes onnxruntime, then "
            f"{_GPU_WHEEL})"
        )
    count = visible_gpus()
    if count is None:
        return f"there is no NVIDIA driver here ({_DRIVER} cannot be loaded; see nvidia-smi)"
    if count == 0:
        return "the NVIDIA driver shows no GPU (see nvidia-smi, and CUDA_VISIBLE_DEVICES)"
    missing = _preload(provider)
    for index in used_gpus(gpus):
        if index >= count:
            return f"there is no GPU {index}: the NVIDIA driver shows {count}, counted from 0"
        if trouble := _trouble(provider, index, missing):
            return f"GPU {index} cannot be used: {trouble}"
    return None


def _preload(provider: Provider) -> list[str]:
    """Load the libraries of NVIDIA's Python packages; returns the names of those not found."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:  # rather than logged
        ort.preload_dlls()
    logger.debug("preloading CUDA: %s", printed.getvalue())
    if provider == "tensorrt":
        # Read when TensorRT builds an engine; ONNX Runtime has no option for it, as for CUDA.
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
        with contextlib.suppress(ImportError):
            importlib.import_module("tensorrt")  # loads its libraries
    return sorted(set(re.findall(r"Failed to load (?:\S*/)?([^\s/:]+):", printed.getvalue())))


def _trouble(provider: Provider, index: int, missing: Sequence[str]) -> str | None:
    """Run the probe on one GPU; returns what is wrong with it."""
    said = "its libraries could not be loaded (see nvidia-smi)"
    ort.set_default_logger_severity(_SILENT)  # it is said below, once
    try:
        session = ort.InferenceSession(
            _PROBE, providers=execution_providers(provider, Gpu(index)), enable_fallback=False
        )
        # A provider whose libraries are missing raises nothing: the session quietly has none.
        if NAMES[provider] in session.get_providers():
            session.run(None, {"x": np.ones(1, np.float32)})
            return None
    except Exception as error:
        said = f"it failed to run: {str(error).strip()}"
    finally:
        ort.set_default_logger_severity(_WARNING)
    if missing:
        return f"libraries are missing: {', '.join(missing)} ({_GPU_WHEEL})"
    return f"{said} (is TensorRT there? pip install tensorrt)" if provider == "tensorrt" else said
