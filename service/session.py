"""ONNX Runtime: rows in, rows out. The only file that knows it.

A session owns one thread for each of its lanes, in which the inferences of its graph run. Batches
are put together outside these threads, so that the next one is ready when the present one ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import math
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from export.manifest import Graph, Size
from service.config import RuntimeUnusable
from service.rows import Array, Rows
from service.signature import GraphMismatch, check_signature

try:
    import onnxruntime as ort
except ImportError as error:
    raise RuntimeUnusable(
        "ONNX Runtime is not installed: pip install onnxruntime, or for CUDA "
        "'onnxruntime-gpu[cuda,cudnn]'"
    ) from error

__all__ = ["GraphMismatch", "OrtSession", "Provider", "Rows", "buckets", "choose_provider"]

logger = logging.getLogger(__name__)

Provider = Literal["cpu", "cuda"]

_EXECUTION_PROVIDERS: dict[Provider, list[str | tuple[str, dict[str, str]]]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [
        (
            "CUDAExecutionProvider",
            {
                # EXHAUSTIVE would search again for each new shape: hundreds of milliseconds.
                "cudnn_conv_algo_search": "HEURISTIC",
                # Grow by what is needed, not to the next power of two.
                "arena_extend_strategy": "kSameAsRequested",
                # TensorFloat-32 has 10 bits of mantissa: too few for a picture within 1/255.
                "use_tf32": "0",
            },
        ),
        "CPUExecutionProvider",
    ],
}
# Batches below this are put together on the event loop: a hop to a thread costs more.
_INLINE_BYTES = 2**20
# Runs below this keep the event loop: to hand one to a thread and back takes 0.1 to 0.4 ms, most of
# it for the interpreter lock, and nothing else has to wait for longer than this.
_INLINE_S = 3e-3
# Device buffers are kept for this many shapes of batch.
_KEPT_SHAPES = 32
# y = -x for one float32: what CUDA must be able to run to be believed.
_PROBE = (
    b'\x08\x07:2\n\x0b\n\x01x\x12\x01y"\x03Neg\x12\x01pZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n'
    b"\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


def buckets(provider: Provider, max_batch_rows: int) -> tuple[int, ...]:
    """The sizes of batch that are run, in rows; others are padded to the next one.

    On the CPU a padded row costs as much as a real one: every size is its own bucket. On CUDA each
    size costs memory and a search for algorithms: powers of two, and the largest.
    """
    if provider == "cpu":
        return tuple(range(1, max_batch_rows + 1))
    powers = [1 << k for k in range(max_batch_rows.bit_length())]
    return tuple(sorted({*powers, max_batch_rows}))


class OrtSession:
    """One graph on one device.

    Creating it reads and optimises the graph, which blocks: do it in a thread.

    Args:
        graph: what the file must be; checked against its real inputs and outputs.
        path: of the ONNX file.
        size: of the pictures.
        provider: as ``choose_provider`` found.
        bucket_rows: the sizes of batch, ascending; ``run`` takes at most the last.
        threads: of one inference on the CPU.
        lanes: inferences at once, which share the weights.
        io_binding: run through buffers on the device that are kept per shape; CUDA's default.

    ``observe``, when set, is called after each inference, in its thread, with the rows, the padding
    rows and the seconds.

    Raises:
        GraphMismatch: the file does not fit ``graph``.
        RuntimeUnusable: ``provider`` is CUDA, and it does not work.
    """

    def __init__(
        self,
        graph: Graph,
        path: Path,
        size: Size,
        *,
        provider: Provider,
        bucket_rows: Sequence[int],
        threads: int = 1,
        lanes: int = 1,
        io_binding: bool | None = None,
    ) -> None:
        self.bucket_rows = tuple(bucket_rows)
        self.provider: Provider = provider
        self.observe: Callable[[int, int, float], None] | None = None
        session = _open(path, provider, threads)
        check_signature(graph, size, session.get_inputs(), session.get_outputs())
        self._names = [output.name for output in graph.outputs]
        bound = provider == "cuda" if io_binding is None else io_binding
        assert lanes == 1 or not bound, "the buffers of a binding are for one run at a time"
        self._infer: Callable[[dict[str, Array]], list[Array]] | None
        if bound:
            self._infer = _BoundRun(session, self._names, provider)
        else:
            self._infer = partial(session.run, self._names)
        # Several lanes run at once only in threads, and a device may keep any run waiting.
        self._inline = lanes == 1 and provider == "cpu"
        self._seconds: dict[int, float] = {}  # of the last run, by the elements of its inputs
        self._threads = ThreadPoolExecutor(lanes, f"onnxruntime {path.parent}")

    async def run(self, parts: Sequence[Rows]) -> list[Rows]:
        """The outputs of each part, in order; at most ``bucket_rows[-1]`` rows in all.

        Results share the memory of their batch, which later runs do not touch.
        """
        rows = sum(len(part) for part in parts)
        padding = next(bucket for bucket in self.bucket_rows if bucket >= rows) - rows
        if sum(part.nbytes for part in parts) < _INLINE_BYTES:
            batch = Rows.join(parts, padding)
        else:
            batch = await asyncio.to_thread(Rows.join, parts, padding)
        if self._is_short(batch):
            outputs = self._run(batch, rows)
        else:
            loop = asyncio.get_running_loop()
            outputs = await loop.run_in_executor(self._threads, self._run, batch, rows)
        if len(parts) == 1 and not padding:
            return [outputs]
        ends = accumulate((len(part) for part in parts), initial=0)
        return [outputs[start:end] for start, end in pairwise(ends)]

    async def close(self) -> None:
        """Finish what runs, drop what waits, free the device; may be called again."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._infer = None

    def _is_short(self, batch: Rows) -> bool:
        """Whether the last run of as much work was over before a thread would have begun it."""
        if not self._inline or self._infer is None:
            return False
        if len(self._seconds) > _KEPT_SHAPES * len(self.bucket_rows):
            self._seconds.clear()
        return self._seconds.get(batch.row_elements * len(batch), math.inf) < _INLINE_S

    def _run(self, batch: Rows, rows: int) -> Rows:
        assert self._infer is not None  # the threads take no work after close
        started = time.perf_counter()
        outputs = self._infer(dict(batch.arrays))
        ended = time.perf_counter()
        self._seconds[batch.row_elements * len(batch)] = ended - started
        if self.observe is not None:
            self.observe(rows, len(batch) - rows, ended - started)
        return Rows(dict(zip(self._names, outputs, strict=True)))


class _BoundRun:
    """Inference through buffers on the device: copied to, not allocated, at each run.

    Outputs stay on the device until the end of the run, and are then copied to fresh arrays.
    """

    def __init__(self, session: ort.InferenceSession, outputs: list[str], device: Provider) -> None:
        self._session, self._outputs, self._device = session, outputs, device
        self._kept: dict[Hashable, tuple[ort.IOBinding, dict[str, ort.OrtValue]]] = {}

    def __call__(self, feed: dict[str, Array]) -> list[Array]:
        shapes = tuple((name, array.shape) for name, array in feed.items())
        if shapes not in self._kept:
            self._kept[shapes] = self._bind(feed)
        # Taken out and put back: the first of the dict is the one not used for the longest time.
        binding, buffers = self._kept[shapes] = self._kept.pop(shapes)
        for name, array in feed.items():
            buffers[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(binding)
        return list(binding.copy_outputs_to_cpu())

    def _bind(self, feed: dict[str, Array]) -> tuple[ort.IOBinding, dict[str, ort.OrtValue]]:
        if len(self._kept) >= _KEPT_SHAPES:
            del self._kept[next(iter(self._kept))]
        binding = self._session.io_binding()
        buffers = {}
        for name, array in feed.items():
            buffers[name] = ort.OrtValue.ortvalue_from_shape_and_type(
                array.shape, array.dtype, self._device, 0
            )
            binding.bind_ortvalue_input(name, buffers[name])
        for name in self._outputs:
            binding.bind_output(name, self._device, 0)
        return binding, buffers


# --- The device. ---


def choose_provider(asked: Literal["auto", "cpu", "cuda"]) -> Provider:
    """The provider to use; never a silent fallback from one that was asked for by name.

    Raises:
        RuntimeUnusable: CUDA was asked for and does not work, or ONNX Runtime is installed twice.
    """
    if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        raise RuntimeUnusable(
            "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files. "
            "Repair: pip uninstall --yes onnxruntime onnxruntime-gpu, then "
            "pip install 'onnxruntime-gpu[cuda,cudnn]' (CUDA) or pip install onnxruntime"
        )
    if asked == "cpu":
        return "cpu"
    obstacle = _cuda_obstacle()
    if obstacle is None:
        return "cuda"
    if asked == "cuda":
        raise RuntimeUnusable(
            f"provider cuda was asked for, but {obstacle}; "
            "repair that, or set GANYMEDE_PROVIDER=cpu"
        )
    logger.info("provider auto is the CPU: %s", obstacle)
    return "cpu"


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _cuda_obstacle() -> str | None:
    """Why CUDA cannot be used, or None when a graph ran on it."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return (
            "this ONNX Runtime is built without it (pip uninstall --yes onnxruntime, then "
            "pip install 'onnxruntime-gpu[cuda,cudnn]')"
        )
    # Finds the libraries of NVIDIA's Python packages; prints, rather than logs, what it misses.
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        ort.preload_dlls()
    logger.debug("preloading CUDA: %s", printed.getvalue())
    try:
        session = ort.InferenceSession(_PROBE, providers=_EXECUTION_PROVIDERS["cuda"])
        # Asking for CUDA where it cannot be loaded raises nothing: the session quietly has none.
        if "CUDAExecutionProvider" in session.get_providers():
            session.run(None, {"x": np.ones(1, np.float32)})
            return None
    except Exception as error:
        return f"it failed to run: {error}"
    return "it could not be loaded (is there a GPU, its driver, CUDA and cuDNN? see nvidia-smi)"


def _open(path: Path, provider: Provider, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads if provider == "cpu" else 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Threads that spin between two runs would take the cores from everything else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what fails is raised, and logged by whoever catches it
    try:
        session = ort.InferenceSession(path, options, providers=_EXECUTION_PROVIDERS[provider])
    except Exception as error:
        raise GraphMismatch(f"{path} is not a graph that ONNX Runtime can load: {error}") from error
    if provider == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise RuntimeUnusable(f"CUDA stopped working: {path} could not be loaded on it")
    return session
