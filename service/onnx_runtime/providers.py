"""A graph opened on a device, and the options that ONNX Runtime is given for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from service.config import CudnnSearch, RuntimeUnusable
from service.signature import GraphMismatch

Provider = Literal["cpu", "cuda", "tensorrt"]
ProviderOptions = tuple[str, dict[str, str]]

NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
MEMORY: dict[Provider, str] = {"cpu": "cpu", "cuda": "cuda", "tensorrt": "cuda"}
"""Where the buffers of a provider are, by the name that ONNX Runtime has for it."""


RunOptions = ort.RunOptions
GIVES_BACK = RunOptions()
"""For a run on the CPU: the memory that it took is given back after it, not kept."""
GIVES_BACK.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, and how a graph is run on it.

    Attributes:
        index: among those that CUDA_VISIBLE_DEVICES shows.
        cudnn_search: how cuDNN finds the algorithms of the convolutions.
        cuda_graphs: record the kernels of each shape once, and replay them.
        memory_bytes: most that the arena of one session may take; None is all there is.
        engines: folder of what TensorRT builds for this graph, and for no other; None keeps none.
        fp16: let TensorRT compute in half precision.
    """

    index: int = 0
    cudnn_search: CudnnSearch = "heuristic"
    cuda_graphs: bool = False
    memory_bytes: int | None = None
    engines: Path | None = None
    fp16: bool = False


def execution_providers(provider: Provider, gpu: Gpu) -> list[ProviderOptions]:
    """Who runs a graph, the first of those that can taking each node."""
    chain: list[ProviderOptions] = [(NAMES["cpu"], {})]
    if provider != "cpu":
        chain.insert(0, (NAMES["cuda"], _cuda_options(gpu)))
    if provider == "tensorrt":
        chain.insert(0, (NAMES["tensorrt"], _tensorrt_options(gpu)))
    return chain


def _cuda_options(gpu: Gpu) -> dict[str, str]:
    options = {
        "device_id": str(gpu.index),
        "cudnn_conv_algo_search": gpu.cudnn_search.upper(),
        # Leaves cuDNN every algorithm to choose from; the arena has a limit of its own.
        "cudnn_conv_use_max_workspace": "1",
        # Grow by what is needed, not to the next power of two.
        "arena_extend_strategy": "kSameAsRequested",
        # TensorFloat-32 has 10 bits of mantissa: too few for a picture within 1/255.
        "use_tf32": "0",
        "enable_cuda_graph": str(int(gpu.cuda_graphs)),
    }
    if gpu.memory_bytes is not None:
        options["gpu_mem_limit"] = str(gpu.memory_bytes)
    return options


def _tensorrt_options(gpu: Gpu) -> dict[str, str]:
    # Its use of TensorFloat-32 has no option here: see ``probing``.
    options = {"device_id": str(gpu.index), "trt_fp16_enable": str(int(gpu.fp16))}
    if gpu.memory_bytes is not None:
        options["trt_max_workspace_size"] = str(gpu.memory_bytes)
    if gpu.engines is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(gpu.engines),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(gpu.engines),
        }
    return options


def open_graph(
    path: Path,
    provider: Provider,
    *,
    threads: int = 1,
    gpu: Gpu | None = None,
    many_shapes: bool = False,
) -> ort.InferenceSession:
    """Read and optimise a graph; blocks.

    Args:
        path: of the ONNX file.
        provider: as ``probing.choose_provider`` found.
        threads: of one run on the CPU.
        gpu: the first one, with defaults, when left out.
        many_shapes: pictures may have any size, so that no plan of memory is kept for each.

    Raises:
        GraphMismatch: it cannot be loaded.
        RuntimeUnusable: the provider stopped working.
    """
    gpu = gpu or Gpu()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads if provider == "cpu" else 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Threads that spin between two runs would take the cores from everything else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = True
    options.enable_mem_pattern = not many_shapes
    options.log_severity_level = 4  # what fails is raised, and logged by whoever catches it
    if provider == "tensorrt" and gpu.engines is not None:
        gpu.engines.mkdir(parents=True, exist_ok=True)
    chain = execution_providers(provider, gpu)
    try:
        # What fails on a GPU would be run on the CPU, with no more than a line on standard output.
        session = ort.InferenceSession(path, options, providers=chain, enable_fallback=False)
    except Exception as error:
        raise GraphMismatch(f"{path} is not a graph that ONNX Runtime can load: {error}") from error
    if NAMES[provider] not in session.get_providers():
        raise RuntimeUnusable(
            f"{provider} stopped working: {path} could not be loaded on it; see nvidia-smi"
        )
    return session
