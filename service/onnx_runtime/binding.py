"""Runs through buffers that stay on the device, kept for each shape of batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from service.onnx_runtime.providers import MEMORY, Gpu, Provider
from service.rows import Array

# Buffers are kept for so many shapes of batch,
_KEPT_SHAPES = 32
# and for no more than so many bytes of them, beside those of the present run.
_KEPT_BYTES = 512 * 2**20

_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
}


@dataclass(frozen=True, slots=True, eq=False)
class _Bound:
    """The buffers of one shape of batch, at addresses that do not change."""

    binding: ort.IOBinding
    options: ort.RunOptions
    inputs: dict[str, ort.OrtValue]
    outputs: tuple[ort.OrtValue, ...]
    nbytes: int


class BoundRun:
    """Inference through buffers on the device: copied to, not allocated, at each run.

    The buffers of outputs are allocated once too, where the graph tells their shape; else ONNX
    Runtime allocates them. Results are copied to fresh arrays. For one run at a time, and on a GPU
    always from the same thread, because ONNX Runtime keeps handles and captured graphs by thread.

    On a GPU buffers come from an arena of the whole process, which is beside the memory limit of a
    session and gives nothing back but to later buffers: hence a bound on their bytes.

    Args:
        session: that runs.
        outputs: their names, in the order of the results.
        provider: of the session.
        gpu: likewise; with CUDA graphs each shape has a number for its own, and all are kept.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        outputs: Sequence[str],
        provider: Provider,
        gpu: Gpu,
    ) -> None:
        self._session, self._names = session, tuple(outputs)
        self._device, self._index = MEMORY[provider], gpu.index
        self._cuda_graphs = gpu.cuda_graphs
        self._described = {output.name: output for output in session.get_outputs()}
        self._kept: dict[Hashable, _Bound] = {}

    def __call__(
        self, feed: dict[str, Array], options: ort.RunOptions | None = None
    ) -> list[Array]:
        """The outputs for whole batches, by input; without options the run has its shape's own."""
        shapes = tuple((name, array.shape) for name, array in feed.items())
        # Taken out and put back: the first of the dict is the one not used for the longest time.
        bound = self._kept.pop(shapes, None) or self._bind(feed)
        self._kept[shapes] = bound
        for name, array in feed.items():
            bound.inputs[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(bound.binding, options or bound.options)
        return list(bound.binding.copy_outputs_to_cpu())

    def _bind(self, feed: dict[str, Array]) -> _Bound:
        rows = len(next(iter(feed.values())))
        sizes = {name: self._output_size(name, rows) for name in self._names}
        nbytes = sum(array.nbytes for array in feed.values())
        nbytes += sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in sizes.values())
        self._make_room(nbytes)
        binding = self._session.io_binding()
        inputs = {name: self._buffer(array.shape, array.dtype) for name, array in feed.items()}
        for name, buffer in inputs.items():
            binding.bind_ortvalue_input(name, buffer)
        outputs = []
        for name, (shape, dtype) in sizes.items():
            if shape:
                outputs.append(self._buffer(shape, dtype))
                binding.bind_ortvalue_output(name, outputs[-1])
            else:
                binding.bind_output(name, self._device, self._index)
        options = ort.RunOptions()
        if self._cuda_graphs:
            options.add_run_config_entry("gpu_graph_id", str(1 + len(self._kept)))
        return _Bound(binding, options, inputs, tuple(outputs), nbytes)

    def _buffer(self, shape: Sequence[int], dtype: np.dtype[Any]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_shape_and_type(
            list(shape), dtype, self._device, self._index
        )

    def _output_size(self, name: str, rows: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """The shape of an output, or none where the graph leaves it open; and its type."""
        found = self._described[name]
        rest = found.shape[1:]
        if found.type not in _DTYPES or not all(isinstance(side, int) for side in rest):
            return (), np.dtype(np.uint8)
        return (rows, *rest), _DTYPES[found.type]

    def _make_room(self, nbytes: int) -> None:
        """Drop the buffers not used for longest; none where captured kernels write to them."""
        while self._kept and not self._cuda_graphs:
            total = sum(bound.nbytes for bound in self._kept.values())
            if len(self._kept) < _KEPT_SHAPES and total + nbytes <= _KEPT_BYTES:
                return
            del self._kept[next(iter(self._kept))]
