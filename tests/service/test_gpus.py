"""A model on GPUs: what is opened, measured and kept, with the CPU in the place of each GPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from export.bundle import Bundle
from export.manifest import FreeSize
from service import opening
from service.batcher import Done
from service.config import ServiceConfig
from service.cost import CostTable
from service.engine import Engine
from service.lanes import Lanes
from service.metrics import Metrics
from service.onnx_runtime import probing, providers
from service.onnx_runtime.binding import BoundRun
from service.onnx_runtime.providers import Gpu, Provider, ProviderOptions
from service.opening import GraphOpener, open_engine
from service.rows import Array, Rows
from service.session import OrtSession, SpreadSession
from tests.tiny import LATENT, tiny_bundle
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio

ELEMENTS = LATENT + 2
# As ONNX Runtime says it, when the arena cannot grow.
OUT_OF_MEMORY = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv "
    "node. Name:'/net/Conv' Status Message: bfc_arena.cc:376 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for "
    "requested buffer of size 939524096"
)
HEURISTIC, DEFAULT, EXHAUSTIVE = (
    Lanes(2, 1, search) for search in ("heuristic", "default", "exhaustive")
)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Provider, Gpu]]:
    """Two GPUs, each of which is really the CPU; and every session that is opened on them."""
    sessions: list[tuple[Provider, Gpu]] = []

    def on_the_cpu(provider: Provider, gpu: Gpu) -> list[ProviderOptions]:
        sessions.append((provider, gpu))
        return [("CPUExecutionProvider", {})]

    for provider in ("cuda", "tensorrt"):
        monkeypatch.setitem(providers.NAMES, provider, "CPUExecutionProvider")
        monkeypatch.setitem(providers.MEMORY, provider, "cpu")
    monkeypatch.setattr(providers, "execution_providers", on_the_cpu)
    monkeypatch.setattr(probing, "visible_gpus", lambda: 2)
    monkeypatch.setattr(opening, "BUDGET_S", 0.0)
    return sessions


@pytest.fixture
def memory_rows(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many rows the memory of a GPU holds; all, at first."""
    held = [10**6]
    run = BoundRun.__call__

    def limited(self: BoundRun, feed: dict[str, Array], options: object = None) -> list[Array]:
        if len(feed["z"]) > held[0]:
            raise RuntimeException(OUT_OF_MEMORY)
        return run(self, feed)

    monkeypatch.setattr(BoundRun, "__call__", limited)
    return lambda rows: held.__setitem__(0, rows)


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path)


def rows(count: int) -> Rows:
    z = np.random.default_rng(0).standard_normal((count, LATENT), dtype=np.float32)
    label, ones = np.zeros(count, np.int64), np.ones(count, np.float32)
    return Rows({"z": z, "label": label, "truncation": ones})


def opener(bundle: Bundle, provider: Provider = "cuda", **settings: Any) -> GraphOpener:  # noqa: ANN401
    graph = bundle.manifest.graph(next(iter(bundle.manifest.tasks)))
    return GraphOpener(bundle, graph, ServiceConfig(**settings), provider)


async def engine(bundle: Bundle, **settings: Any) -> Engine:  # noqa: ANN401
    graph = bundle.manifest.graph("generate")
    return await open_engine(bundle, graph, ServiceConfig(**settings), "cuda", Metrics())


async def submit(made: Engine, count: int) -> Done[Rows]:
    some = rows(count)
    return await made.batcher.submit(some, key=some.shape_key(), nbytes=1)


def measured(monkeypatch: pytest.MonkeyPatch, seconds: dict[Lanes, float]) -> None:
    """Let a run of one row take so long, each way."""

    async def measure(self: GraphOpener, session: object, lanes: Lanes) -> CostTable:
        return CostTable({ELEMENTS: {1: seconds[lanes]}})

    monkeypatch.setattr(GraphOpener, "measure", measure)


async def test_every_search_is_opened_on_every_gpu_and_measured(
    tiny: Bundle, opened: list[tuple[Provider, Gpu]]
) -> None:
    made = await engine(tiny, max_batch_rows=4, gpu_memory_bytes=2**30)
    assert [(gpu.index, gpu.cudnn_search) for _, gpu in opened] == [
        (index, search)
        for search in ("heuristic", "default", "exhaustive")
        for index in (0, 1)
    ]  # fmt: skip
    assert {gpu.memory_bytes for _, gpu in opened} == {2**30}
    assert list(made.costs) == [HEURISTIC, DEFAULT, EXHAUSTIVE]
    assert made.layout.busy in made.costs
    assert made.layout.alone is None
    await made.close()


async def test_the_quickest_search_is_kept_and_the_others_are_closed(
    tiny: Bundle, opened: list[tuple[Provider, Gpu]], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[OrtSession] = []
    close = OrtSession.close

    async def watched(self: OrtSession) -> None:
        closed.append(self)
        await close(self)

    monkeypatch.setattr(OrtSession, "close", watched)
    measured(monkeypatch, {HEURISTIC: 3.0, DEFAULT: 2.0, EXHAUSTIVE: 2.5})
    fitted = await opener(tiny).fit()
    assert fitted.layout.busy == DEFAULT
    assert list(fitted.sessions) == [DEFAULT]
    assert len(closed) == 4
    [kept] = fitted.sessions.values()
    assert isinstance(kept, SpreadSession)
    assert not set(kept.members) & set(closed)
    await kept.close()


async def test_settings_fix_the_search_and_the_gpus(
    tiny: Bundle, opened: list[tuple[Provider, Gpu]]
) -> None:
    fitted = await opener(tiny, cudnn_search="default", gpus="1", max_batch_rows=2).fit()
    assert [(gpu.index, gpu.cudnn_search) for _, gpu in opened] == [(1, "default")]
    [session] = fitted.sessions.values()
    assert isinstance(session, OrtSession)
    await session.close()


async def test_every_bucket_has_run_on_every_gpu_before_a_request_comes(
    tiny: Bundle, opened: list[tuple[Provider, Gpu]]
) -> None:
    made = opener(tiny, cudnn_search="heuristic")
    session = await made.open(HEURISTIC)
    assert isinstance(session, SpreadSession)
    costs = await made.measure(session, HEURISTIC)
    assert list(costs.column(ELEMENTS)) == [1, 2, 4, 8, 16, 32, 64]
    for member in session.members:
        kept = member._infer._kept  # type: ignore[union-attr]
        assert [dict(shapes)["z"][0] for shapes in kept] == [1, 2, 4, 8, 16, 32, 64]
    await session.close()


async def test_pictures_are_those_of_the_cpu_on_every_gpu(
    tiny: Bundle, opened: list[tuple[Provider, Gpu]]
) -> None:
    made = await engine(tiny, max_batch_rows=4, cudnn_search="heuristic")
    whole = Rows.join((await submit(made, 11)).parts)["image"]
    await made.close()
    graph = tiny.manifest.graph("generate")
    path, size = tiny.file(graph.onnx), tiny.manifest.size
    plain = OrtSession(graph, path, size, provider="cpu", bucket_rows=(11,))
    [expected] = await plain.run([rows(11)])
    await plain.close()
    assert np.array_equal(whole, expected["image"])


# --- CUDA graphs. ---


async def test_captured_graphs_are_measured_when_asked_for_one_gpu_after_the_other(
    tiny: Bundle, opened: list[tuple[Provider, Gpu]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[int, int]] = []
    run = OrtSession.run

    async def watched(self: OrtSession, parts: Sequence[Rows]) -> list[Rows]:
        runs.append((id(self), sum(map(len, parts))))
        return await run(self, parts)

    captured = Lanes(2, 1, "heuristic", cuda_graphs=True)
    measured(monkeypatch, {HEURISTIC: 2.0, captured: 1.0})
    monkeypatch.setattr(OrtSession, "run", watched)
    fitted = await opener(
        tiny, cudnn_search="heuristic", cuda_graphs=True, max_batch_rows=4
    ).fit()  # fmt: skip
    assert [gpu.cuda_graphs for _, gpu in opened] == [False, False, True, True]
    assert fitted.layout.busy == captured
    [kept] = fitted.sessions.values()
    assert isinstance(kept, SpreadSession)
    first, second = map(id, kept.members)
    assert runs[2:] == [(member, count) for member in (first, second) for count in (1, 2, 4)]
    await kept.close()


async def test_a_graph_that_cannot_be_captured_runs_as_it_is(
    tiny: Bundle,
    opened: list[tuple[Provider, Gpu]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = ort.InferenceSession

    def refuse(*args: Any, **kwargs: Any) -> ort.InferenceSession:  # noqa: ANN401
        if opened[-1][1].cuda_graphs:
            raise RuntimeError("all the nodes must be partitioned to the CUDA provider")
        return session(*args, **kwargs)

    monkeypatch.setattr(ort, "InferenceSession", refuse)
    fitted = await opener(tiny, cudnn_search="heuristic", cuda_graphs=True).fit()
    assert fitted.layout.busy == HEURISTIC
    assert "is left out" in caplog.text
    assert "must be partitioned" in caplog.text
    await fitted.sessions[HEURISTIC].close()


async def test_pictures_of_free_size_are_not_captured(
    tmp_path: Path, opened: list[tuple[Provider, Gpu]]
) -> None:
    size = FreeSize(min_side=8, max_side=16, max_pixels=256, stride=4, warm=((8, 8),))
    made = opener(picture_bundle(tmp_path, size=size), cuda_graphs=True)
    assert not any(lanes.cuda_graphs for lanes in made.candidates)


# --- TensorRT. ---


async def test_tensorrt_has_nothing_to_search_and_sees_its_range_of_batches_first(
    tiny: Bundle,
    opened: list[tuple[Provider, Gpu]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "engines"
    made = opener(tiny, "tensorrt", tensorrt_cache=cache, cuda_graphs=True, gpus="0")
    assert made.candidates == (Lanes(1, 1),)
    sizes: list[int] = []
    run = OrtSession.run

    async def watched(self: OrtSession, parts: Sequence[Rows]) -> list[Rows]:
        sizes.append(sum(map(len, parts)))
        return await run(self, parts)

    monkeypatch.setattr(OrtSession, "run", watched)
    session = await made.open(Lanes(1, 1))
    assert sizes == [1, 64]
    [(provider, gpu)] = opened
    assert (provider, gpu.fp16) == ("tensorrt", False)
    assert gpu.engines == cache / tiny.digest / "generate"  # not another model's
    assert gpu.engines.is_dir()
    await session.close()


# --- Memory. ---


async def test_a_bucket_that_does_not_fit_into_the_memory_is_not_used(
    tiny: Bundle, opened: list[tuple[Provider, Gpu]], memory_rows: Callable[[int], None]
) -> None:
    memory_rows(9)
    made = await engine(tiny, cudnn_search="heuristic", gpus="0")
    assert list(made.costs[made.layout.busy].column(ELEMENTS)) == [1, 2, 4, 8]
    assert made.batcher.max_batch_rows <= 8
    assert len(Rows.join((await submit(made, 20)).parts)) == 20
    await made.close()


async def test_memory_that_others_took_makes_batches_smaller_and_fails_no_request(
    tiny: Bundle, opened: list[tuple[Provider, Gpu]], memory_rows: Callable[[int], None]
) -> None:
    made = await engine(tiny, cudnn_search="heuristic", gpus="0", max_batch_rows=16)
    expected = Rows.join((await submit(made, 16)).parts)["image"]
    memory_rows(4)
    found = Rows.join((await submit(made, 16)).parts)["image"]  # one request, hence in one part
    assert np.array_equal(found, expected)
    assert made.batcher.max_batch_rows == 4
    memory_rows(3)
    for _ in range(4):  # batches of several requests
        alike = await asyncio.gather(*(submit(made, 1) for _ in range(12)))
        assert [len(done.parts) for done in alike] == [1] * 12
    assert made.batcher.max_batch_rows == 2
    assert made.trouble is None
    await made.close()
