"""What ``bench.cuda`` asks of ONNX Runtime itself: one session at a time, in this process.

Every function takes the provider, so that the CPU can stand in for the GPU in tests.
"""

from __future__ import annotations

import gc
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bench.loads import Served
from export.rows import Rows, cut, varied_rows
from service.config import CudnnSearch
from service.onnx_runtime.binding import BoundRun
from service.onnx_runtime.providers import Gpu, Provider, execution_providers, open_graph

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
FEW = (1, 8, 64)
BUDGET_S = 0.25  # of all timed runs of one size
REPEATS = 10
LEVELS = 1  # of 255, that a picture may differ by
GROWTH_MIB = 64  # of memory over all reloads, that may be noise

Row = dict[str, Any]
Pictures = NDArray[np.uint8]
Run = Callable[[Rows], Pictures]


def feeds(model: Served, rows: int) -> Rows:
    """Inputs of so many rows, each with a seed of its own."""
    return varied_rows(model.graph.inputs, range(rows), model.size.height, model.size.width)


def bound(model: Served, provider: Provider, gpu: Gpu | None = None) -> Run:
    """A graph as the service runs it on a GPU: through buffers that stay there."""
    session = open_graph(model.onnx, provider, gpu=gpu)
    return _pictures(model, BoundRun(session, _outputs(model), provider, gpu or Gpu()))


def plain(model: Served, provider: Provider, chain: list[Any] | None = None) -> Run:
    """The same without binding, and with other options for the providers if asked for."""
    if chain is None:
        session = open_graph(model.onnx, provider)
    else:
        session = ort.InferenceSession(model.onnx, providers=chain, enable_fallback=False)
    return _pictures(model, lambda feed: session.run(_outputs(model), feed))


def _outputs(model: Served) -> list[str]:
    return [output.name for output in model.graph.outputs]


def _pictures(model: Served, run: Callable[[Rows], Sequence[Any]]) -> Run:
    index = next(k for k, output in enumerate(model.graph.outputs) if output.kind == "image")
    return lambda feed: run(feed)[index]


def timed(run: Run, feed: Rows) -> Row:
    """The first run, and the median and the rate of those after it."""
    spent: list[float] = []
    while len(spent) < 3 or (sum(spent[1:]) < BUDGET_S and len(spent) < 1000):
        started = time.perf_counter()
        run(feed)
        spent.append(time.perf_counter() - started)
    rows = len(next(iter(feed.values())))
    p50, p99 = np.percentile(spent[1:], (50, 99))
    return {
        "first_ms": spent[0] * 1e3,
        "p50_ms": float(p50) * 1e3,
        "p99_ms": float(p99) * 1e3,
        "images_per_s": rows / float(p50),
    }


def compare(found: Pictures, expected: Pictures) -> Row:
    """How far pictures are apart, in levels of 255."""
    distance = np.abs(found.astype(np.int16) - expected.astype(np.int16))
    differing = int(np.count_nonzero(distance))
    return {
        "levels": int(distance.max()),
        "differing": differing,
        "values": distance.size,
        "share": differing / distance.size,
    }


# --- The parts. ---


def binding(model: Served, provider: Provider) -> list[Row]:
    """Runs through kept buffers are as plain runs, and the same bytes every time."""
    run, reference = bound(model, provider), plain(model, provider)
    rows = []
    for size in FEW:
        feed = feeds(model, size)
        others = {name: array[::-1].copy() for name, array in feed.items()}
        first, differing = run(feed), 0
        for _ in range(REPEATS):
            run(others)
            differing += not np.array_equal(run(feed), first)
        levels = compare(first, reference(feed))["levels"]
        facts = {"model": model.name, "rows": size, "repeats": REPEATS, "differing": differing}
        facts |= {"levels_from_plain": levels, "passed": not differing and levels <= LEVELS}
        rows.append(facts)
    return rows


def buckets(model: Served, provider: Provider) -> list[Row]:
    """What each size of batch takes, through kept buffers and without."""
    run, reference = bound(model, provider), plain(model, provider)
    rows = []
    for size in BUCKETS:
        feed = feeds(model, size)
        plain_ms = timed(reference, feed)["p50_ms"]
        facts = {"model": model.name, "rows": size, **timed(run, feed), "plain_ms": plain_ms}
        rows.append(facts)
    return rows


def ways(model: Served, provider: Provider) -> list[Row]:
    """Every search of cuDNN's, with and without captured graphs, against the first of them."""
    rows: list[Row] = []
    expected: dict[int, Pictures] = {}
    for graphs in (False, True):
        for search in get_args(CudnnSearch):
            gpu = Gpu(cudnn_search=search, cuda_graphs=graphs)
            facts: Row = {"model": model.name, "cudnn_search": search, "cuda_graphs": graphs}
            try:
                rows += [facts | row for row in _way(model, provider, gpu, expected)]
            except Exception as error:  # what cannot be captured is told
                rows.append(facts | {"refused": str(error)})
    return rows


def _way(
    model: Served, provider: Provider, gpu: Gpu, expected: dict[int, Pictures]
) -> Iterator[Row]:
    started = time.perf_counter()
    run = bound(model, provider, gpu)
    open_ms = (time.perf_counter() - started) * 1e3
    for size in FEW:
        feed = feeds(model, size)
        facts = {"open_ms": open_ms, "rows": size, **timed(run, feed)}
        found = run(feed)
        levels = compare(found, expected.setdefault(size, found))["levels"]
        yield {**facts, "levels_from_first": levels, "passed": levels <= LEVELS}


def deviation(model: Served, provider: Provider) -> list[Row]:
    """The pictures of 64 seeds in every bucket, against the CPU's; TensorFloat-32 on the side."""
    feed = feeds(model, BUCKETS[-1])
    expected = plain(model, "cpu")(feed)
    chain = execution_providers(provider, Gpu())
    chain[0][1].update({"use_tf32": "1"} if provider == "cuda" else {})
    rows = []
    for name, run in (("service", bound(model, provider)), ("TF32", plain(model, provider, chain))):
        alone: Pictures | None = None
        for size in BUCKETS:
            starts = range(0, BUCKETS[-1], size)
            found = np.concatenate([run(cut(feed, k, k + size)) for k in starts])
            alone = found if alone is None else alone
            apart = compare(found, alone)
            facts = {"model": model.name, "as": name, "rows": size, **compare(found, expected)}
            facts |= {"levels_from_alone": apart["levels"], "share_from_alone": apart["share"]}
            if name == "service":
                facts["passed"] = max(facts["levels"], apart["levels"]) <= LEVELS
            rows.append(facts)
    return rows


def tensorrt(model: Served, provider: Provider) -> list[Row]:
    """What the engine takes to build and to run, and how far it is from the CPU."""
    started = time.perf_counter()
    run = bound(model, provider)
    run(feeds(model, 1))
    run(feeds(model, BUCKETS[-1]))  # the range of its batches
    build_s = time.perf_counter() - started
    rows = []
    for size in FEW:
        feed = feeds(model, size)
        apart = compare(run(feed), plain(model, "cpu")(feed))
        facts = {"model": model.name, "rows": size, "build_s": build_s, **timed(run, feed)}
        rows.append({**facts, **apart, "passed": apart["levels"] <= LEVELS})
    return rows


def reloads(
    model: Served, provider: Provider, count: int, used_mib: Callable[[], float | None]
) -> list[Row]:
    """Memory while a graph is opened, run in two buckets and dropped, over and over."""
    found: dict[int, float] = {}
    early = min(count, 5)  # by then the process has what it keeps for good
    for number in range(1, count + 1):
        run: Run | None = bound(model, provider)
        for size in (1, BUCKETS[-1]):
            assert run is not None
            run(feeds(model, size))
        run = None
        if number in (early, count):
            gc.collect()
            used = used_mib()
            found |= {} if used is None else {number: used}
    if not found:
        return [{"model": model.name, "reloads": count, "refused": "nvidia-smi tells nothing"}]
    growth = found[count] - found[early]
    facts = {"model": model.name, "reloads": count, f"after_{early}_mib": found[early]}
    return [
        {**facts, "at_end_mib": found[count], "growth_mib": growth, "passed": growth <= GROWTH_MIB}
    ]


def gpu_memory_mib() -> float | None:
    """The memory in use on the first GPU, whoever uses it."""
    answer = nvidia_smi("memory.used")
    return float(answer[0]) if answer else None


def nvidia_smi(query: str) -> list[str]:
    """A line for each GPU; none where the program is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []
