"""Sessions: rows in, rows out, on one device or on several.

A session owns one thread for each of its lanes, in which the inferences of its graph run. Batches
are put together outside these threads, so that the next one is ready when the present one ends.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path

from export.manifest import FixedSize, Graph, Size
from service.onnx_runtime.binding import BoundRun
from service.onnx_runtime.probing import choose_provider, used_gpus
from service.onnx_runtime.providers import GIVES_BACK, Gpu, Provider, RunOptions, open_graph
from service.rows import Array, Rows
from service.signature import GraphMismatch, check_signature

__all__ = [
    "Gpu",
    "GraphMismatch",
    "OrtSession",
    "Provider",
    "Rows",
    "SpreadSession",
    "buckets",
    "choose_provider",
    "used_gpus",
]

# Batches below this are put together on the event loop: a hop to a thread costs more.
_INLINE_BYTES = 2**20
_LARGE_BYTES = 2**24  # the memory that a larger batch took is given back after it, not kept
# Runs below this keep the event loop: to hand one to a thread and back takes 0.1 to 0.4 ms, most of
# it for the interpreter lock, and nothing else has to wait for longer than this.
_INLINE_S = 4e-3
_STEP_UP = 1.2  # what a run is expected to take grows by no more from one to the next
_STALL_S = 10 * _INLINE_S  # unless it took so long: it is not let do so twice
# The times of runs are kept for this many shapes of a row.
_KEPT_SHAPES = 32


def buckets(provider: Provider, max_batch_rows: int) -> tuple[int, ...]:
    """The sizes of batch that are run, in rows; others are padded to the next one.

    On the CPU a padded row costs as much as a real one: every size is its own bucket. On a GPU each
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
        lanes: inferences at once, which share the weights; one where buffers are bound.
        io_binding: run through buffers on the device that are kept per shape; a GPU's default.
        gpu: which one, and how; the first, with defaults, when left out.

    ``run_at_once`` gives the outputs of rows, or None if they cannot be had without holding up the
    event loop; it is None where they never can. ``observe``, when set, is called after each
    inference, in its thread, with the rows, the padding rows and the seconds.

    Raises:
        GraphMismatch: the file does not fit ``graph``.
        RuntimeUnusable: ``provider`` is one of GPUs, and it does not work.
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
        gpu: Gpu | None = None,
    ) -> None:
        self.bucket_rows = tuple(bucket_rows)
        self._exact = frozenset(bucket_rows)  # these need no padding
        self.provider: Provider = provider
        self.observe: Callable[[int, int, float], None] | None = None
        gpu = gpu or Gpu()
        many = not isinstance(size, FixedSize)
        session = open_graph(path, provider, threads=threads, gpu=gpu, many_shapes=many)
        check_signature(graph, size, session.get_inputs(), session.get_outputs())
        self._names = [output.name for output in graph.outputs]
        bound = provider != "cpu" if io_binding is None else io_binding
        assert lanes == 1 or not bound, "the buffers of a binding are for one run at a time"
        self._infer: Callable[[dict[str, Array], RunOptions | None], list[Array]] | None
        if bound:
            self._infer = BoundRun(session, self._names, provider, gpu)
        else:
            self._infer = partial(session.run, self._names)
        # Several lanes run at once only in threads, and a device may keep any run waiting.
        self._inline, self._in_threads = lanes == 1 and not bound, 0
        self.run_at_once = self._short_run if self._inline else None
        self._seconds: dict[int, float] = {}  # of the runs so far, by the elements of their inputs
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
            self._in_threads += 1
            try:
                outputs = await loop.run_in_executor(self._threads, self._run, batch, rows)
            finally:
                self._in_threads -= 1
        if len(parts) == 1 and not padding:
            return [outputs]
        ends = accumulate((len(part) for part in parts), initial=0)
        return [outputs[start:end] for start, end in pairwise(ends)]

    def _short_run(self, rows: Rows) -> Rows | None:
        if not self._is_short(rows) or len(rows) not in self._exact:
            return None
        return self._run(rows, len(rows))

    async def close(self) -> None:
        """Finish what runs, drop what waits, free the device; may be called again."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._infer = None

    def _is_short(self, batch: Rows) -> bool:
        """Whether as much work is likely to be over before a thread would have begun it."""
        if not self._inline or self._infer is None or self._in_threads:
            return False
        if len(self._seconds) > _KEPT_SHAPES * len(self.bucket_rows):
            self._seconds.clear()
        return self._seconds.get(batch.row_elements * len(batch), math.inf) < _INLINE_S

    def _run(self, batch: Rows, rows: int) -> Rows:
        assert self._infer is not None  # the threads take no work after close
        started = time.perf_counter()
        gives_back = self.provider == "cpu" and batch.nbytes > _LARGE_BYTES
        outputs = self._infer(dict(batch.arrays), GIVES_BACK if gives_back else None)
        ended = time.perf_counter()
        self._learn(batch.row_elements * len(batch), ended - started)
        if self.observe is not None:
            self.observe(rows, len(batch) - rows, ended - started)
        for output in outputs:  # requests share them
            output.flags.writeable = False
        return Rows(dict(zip(self._names, outputs, strict=True)))

    def _learn(self, work: int, seconds: float) -> None:
        """Down at once, up slowly: that the system was busy says little of the next run."""
        slowest = self._seconds.get(work, math.inf) * _STEP_UP
        self._seconds[work] = seconds if seconds > _STALL_S else min(seconds, slowest)


class SpreadSession:
    """Sessions of one graph on several GPUs, as one: a run goes to where the fewest are under way.

    Args:
        members: with the same buckets, and one lane each.
    """

    def __init__(self, members: Sequence[OrtSession]) -> None:
        self.members = tuple(members)
        self.bucket_rows = members[0].bucket_rows
        self.run_at_once = None  # a device may keep any run waiting
        self._running = [0] * len(members)

    @property
    def observe(self) -> Callable[[int, int, float], None] | None:
        """As of a single session: called after each inference of any of them."""
        return self.members[0].observe

    @observe.setter
    def observe(self, told: Callable[[int, int, float], None] | None) -> None:
        for member in self.members:
            member.observe = told

    async def run(self, parts: Sequence[Rows]) -> list[Rows]:
        """The outputs of each part, in order."""
        chosen = self._running.index(min(self._running))
        self._running[chosen] += 1
        try:
            return await self.members[chosen].run(parts)
        finally:
            self._running[chosen] -= 1

    async def close(self) -> None:
        """Close them all; may be called again."""
        await asyncio.gather(*(member.close() for member in self.members))
