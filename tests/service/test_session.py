"""Inference with real graphs on this processor, through plain runs and through bound buffers."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle import Bundle
from export.manifest import FreeSize, Task
from service import session as session_module
from service.onnx_runtime import binding
from service.onnx_runtime.providers import GIVES_BACK
from service.rows import Rows
from service.session import Gpu, OrtSession, SpreadSession, buckets
from tests.tiny import LATENT, tiny_bundle
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio

CLASSES = 3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models"), channels=3, size=16)


@pytest.fixture(scope="module")
def convolution(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("models")
    return tiny_bundle(folder, channels=3, size=16, convolution=True)


def opened(bundle: Bundle, task: Task = "generate", **changes: Any) -> OrtSession:  # noqa: ANN401
    graph = bundle.manifest.graph(task)
    settings = {"provider": "cpu", "bucket_rows": buckets("cpu", 40)}
    path, size = bundle.file(graph.onnx), bundle.manifest.size
    return OrtSession(graph, path, size, **(settings | changes))


def random_rows(count: int, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    return Rows(
        {
            "z": generator.standard_normal((count, LATENT), dtype=np.float32),
            "label": generator.integers(0, CLASSES, count),
            "truncation": generator.random(count, dtype=np.float32),
        }
    )


def one_by_one(rows: Rows) -> list[Rows]:
    return [rows[k : k + 1] for k in range(len(rows))]


# --- Runs. ---


async def test_the_memory_of_large_batches_is_given_back(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, session, seen = random_rows(8), opened(tiny), []
    infer: Any = session._infer

    def recorded(feed: dict[str, Any], options: object) -> Any:  # noqa: ANN401
        seen.append(options)
        return infer(feed, options)

    monkeypatch.setattr(session, "_infer", recorded)
    for limit in (rows.nbytes, rows.nbytes - 1):
        monkeypatch.setattr(session_module, "_LARGE_BYTES", limit)
        await session.run([rows])
    assert seen == [None, GIVES_BACK]
    setting = "memory.enable_memory_arena_shrinkage"
    assert GIVES_BACK.get_run_config_entry(setting) == "cpu:0"
    await session.close()


async def test_large_batches_have_the_same_results(
    convolution: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, session = random_rows(8), opened(convolution)
    [before] = await session.run([rows])
    monkeypatch.setattr(session_module, "_LARGE_BYTES", 0)
    for _ in range(3):
        [after] = await session.run([rows])
        assert np.array_equal(before["image"], after["image"])
    await session.close()


async def test_each_part_gets_its_own_rows(tiny: Bundle) -> None:
    session = opened(tiny)
    rows = random_rows(6)
    whole = (await session.run([rows]))[0]["image"]
    parts = await session.run([rows[:1], rows[1:4], rows[4:]])
    assert [len(part) for part in parts] == [1, 3, 2]
    assert np.array_equal(np.concatenate([part["image"] for part in parts]), whole)
    assert whole.shape == (6, 16, 16, 3)
    assert whole.dtype == np.uint8
    await session.close()


async def test_short_runs_keep_the_event_loop_and_long_ones_leave_it(tiny: Bundle) -> None:
    session = opened(tiny)
    threads: list[int] = []
    session.observe = lambda *_: threads.append(threading.get_ident())
    rows = random_rows(2)
    await session.run([rows])  # nobody knows yet what it takes
    session._seconds = dict.fromkeys(session._seconds, 1e-4)
    await session.run([rows])
    session._seconds = dict.fromkeys(session._seconds, 1.0)
    await session.run([rows])
    here = threading.get_ident()
    assert [ident == here for ident in threads] == [False, True, False]
    await session.close()


@pytest.mark.parametrize(("took_s", "leaves"), [(0.01, False), (0.1, True)])
async def test_a_run_that_held_everything_up_is_not_let_do_so_twice(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch, took_s: float, leaves: bool
) -> None:
    session, rows, now_s, threads = opened(tiny), random_rows(2), 0.0, list[int]()
    infer: Any = session._infer

    def slow(*arguments: Any) -> Any:  # noqa: ANN401
        nonlocal now_s
        now_s += took_s
        threads.append(threading.get_ident())
        return infer(*arguments)

    await session.run([rows])
    session._seconds = dict.fromkeys(session._seconds, 1e-4)
    monkeypatch.setattr(session, "_infer", slow)
    monkeypatch.setattr("service.session.time.perf_counter", lambda: now_s)
    assert session._short_run(rows) is not None
    assert (session._short_run(rows) is None) is leaves
    await session.run([rows])
    assert (threads[-1] != threading.get_ident()) is leaves
    await session.close()


async def test_nothing_runs_on_the_event_loop_beside_a_run_in_the_thread(tiny: Bundle) -> None:
    session = opened(tiny)
    rows, held, threads = random_rows(2), threading.Event(), list[int]()

    def wait(*_: object) -> None:
        threads.append(threading.get_ident())
        assert held.wait(30)

    session.observe = wait
    first = asyncio.create_task(session.run([rows]))  # in the thread, as nobody knows what it takes
    while not threads:
        await asyncio.sleep(0)
    session._seconds = {rows.row_elements * len(rows): 1e-4}
    assert session._short_run(rows) is None
    second = asyncio.create_task(session.run([rows]))
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(first, second)
    assert threading.get_ident() not in threads
    session._seconds = dict.fromkeys(session._seconds, 1e-4)
    assert session._short_run(rows) is not None
    await session.run([rows])
    assert threads[2:] == [threading.get_ident()] * 2
    await session.close()


async def test_several_lanes_never_run_on_the_event_loop(tiny: Bundle) -> None:
    session = opened(tiny, lanes=2)
    threads: list[int] = []
    session.observe = lambda *_: threads.append(threading.get_ident())
    for _ in range(3):
        await session.run([random_rows(2)])
    assert threading.get_ident() not in threads
    await session.close()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["tiny", "convolution"])
async def test_one_seed_is_one_picture_alone_and_in_any_batch(
    name: str, threads: int, request: pytest.FixtureRequest
) -> None:
    session = opened(request.getfixturevalue(name), threads=threads)
    rows = random_rows(37)
    alone = [(await session.run([row]))[0]["image"] for row in one_by_one(rows)]
    assert len({picture.tobytes() for picture in alone}) == 37
    order = np.random.default_rng(1).permutation(37)
    for size in (2, 3, 8, 17, 37):
        for start in range(0, 37, size):
            chosen = order[start : start + size]
            parts = await session.run([rows[k : k + 1] for k in chosen])
            for k, part in zip(chosen, parts, strict=True):
                assert part["image"].tobytes() == alone[k].tobytes()
    await session.close()


async def test_results_outlive_later_runs_and_the_session(tiny: Bundle) -> None:
    session = opened(tiny)
    [held] = await session.run([random_rows(3, seed=1)])
    before = held["image"].copy()
    for seed in range(20):
        await session.run([random_rows(3, seed=seed)])
    await session.close()
    del session
    gc.collect()
    assert np.array_equal(held["image"], before)


@pytest.mark.parametrize("io_binding", [False, True])
async def test_results_are_not_written_to_as_requests_share_them(
    tiny: Bundle, io_binding: bool
) -> None:
    session = opened(tiny, io_binding=io_binding)
    for part in await session.run(one_by_one(random_rows(2))):
        batch = part["image"].base
        assert batch is not None
        assert not batch.flags.writeable
        assert not part["image"].flags.writeable
    await session.close()


async def test_runs_are_in_the_threads_of_the_session_one_at_a_time(tiny: Bundle) -> None:
    session = opened(tiny)
    threads: set[str] = set()
    sizes: list[tuple[int, int]] = []

    def observe(rows: int, padding_rows: int, seconds: float) -> None:
        threads.add(threading.current_thread().name)
        sizes.append((rows, padding_rows))
        assert seconds > 0

    session.observe = observe
    await asyncio.gather(*(session.run([random_rows(n)]) for n in (1, 2, 3)))
    assert sizes == [(1, 0), (2, 0), (3, 0)]
    assert len(threads) == 1
    assert threading.current_thread().name not in threads
    await session.close()


async def test_large_batches_are_put_together_off_the_event_loop(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(tiny)
    rows = random_rows(4)
    expected = (await session.run([rows]))[0]["image"]
    threads: list[int] = []
    join = Rows.join

    def watched(parts: list[Rows], padding_rows: int = 0) -> Rows:
        threads.append(threading.get_ident())
        return join(parts, padding_rows)

    monkeypatch.setattr(Rows, "join", watched)
    await session.run([rows[:2], rows[2:]])
    monkeypatch.setattr(session_module, "_INLINE_BYTES", 1)
    parts = await session.run([rows[:2], rows[2:]])
    assert threads[0] == threading.get_ident() != threads[1]
    assert np.array_equal(np.concatenate([part["image"] for part in parts]), expected)
    await session.close()


async def test_a_failing_row_raises_and_the_session_goes_on(tiny: Bundle) -> None:
    session = opened(tiny)
    rows = random_rows(2)
    poisoned = Rows(dict(rows.arrays) | {"label": np.array([0, CLASSES])})
    with pytest.raises(Exception, match="out of data bounds"):
        await session.run([poisoned])
    assert len((await session.run([rows]))[0]) == 2
    await session.close()


async def test_close_may_come_at_any_time_and_twice(tiny: Bundle) -> None:
    session = opened(tiny)
    runs = [asyncio.create_task(session.run([random_rows(2)])) for _ in range(8)]
    await asyncio.sleep(0)
    await asyncio.gather(session.close(), session.close())
    ends = await asyncio.gather(*runs, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            assert isinstance(end, asyncio.CancelledError | RuntimeError)
        else:
            assert len(end[0]) == 2
    with pytest.raises(RuntimeError):
        await session.run([random_rows(1)])


# --- Buckets. ---


def test_on_the_cpu_every_size_is_its_own_bucket() -> None:
    assert buckets("cpu", 5) == (1, 2, 3, 4, 5)


def test_on_cuda_buckets_are_powers_of_two_and_the_largest() -> None:
    assert buckets("cuda", 64) == (1, 2, 4, 8, 16, 32, 64)
    assert buckets("cuda", 20) == (1, 2, 4, 8, 16, 20)
    assert buckets("cuda", 1) == (1,)


@pytest.mark.parametrize("io_binding", [False, True])
async def test_a_batch_is_padded_to_its_bucket_and_the_padding_is_dropped(
    tiny: Bundle, io_binding: bool
) -> None:
    session = opened(tiny, bucket_rows=buckets("cuda", 16), io_binding=io_binding)
    plain = opened(tiny)
    sizes: list[tuple[int, int]] = []
    session.observe = lambda rows, padding_rows, seconds: sizes.append((rows, padding_rows))
    for count in (1, 3, 5, 16):
        rows = random_rows(count, seed=count)
        parts = await session.run(one_by_one(rows))
        pictures = np.concatenate([part["image"] for part in parts])
        assert np.array_equal(pictures, (await plain.run([rows]))[0]["image"])
    assert sizes == [(1, 0), (3, 1), (5, 3), (16, 0)]
    await session.close()
    await plain.close()


async def test_lanes_run_at_once_and_give_the_same_pictures(tiny: Bundle) -> None:
    session = opened(tiny, lanes=2)
    rows = random_rows(3)
    [alone] = await session.run([rows])
    together = threading.Barrier(2, timeout=30)

    def meet(rows: int, padding_rows: int, seconds: float) -> None:
        together.wait()

    session.observe = meet
    both = await asyncio.gather(session.run([rows]), session.run([rows]))
    assert [np.array_equal(each["image"], alone["image"]) for [each] in both] == [True, True]
    await session.close()


# --- I/O binding, on buffers of the CPU. ---


async def test_bound_results_outlive_the_next_run_through_the_same_buffers(tiny: Bundle) -> None:
    session = opened(tiny, io_binding=True)
    [first] = await session.run([random_rows(3, seed=1)])
    before = first["image"].copy()
    [second] = await session.run([random_rows(3, seed=2)])
    assert np.array_equal(first["image"], before)
    assert not np.array_equal(second["image"], before)
    await session.close()


async def test_bound_inputs_are_copied_not_written_to(tiny: Bundle) -> None:
    session = opened(tiny, io_binding=True)
    rows = random_rows(3, seed=1)
    z = rows["z"].copy()
    await session.run([rows])
    await session.run([random_rows(3, seed=2)])
    assert np.array_equal(rows["z"], z)
    await session.close()


def kept(session: OrtSession) -> dict[int, Any]:
    """What is kept for each number of rows; the one not used for longest is first."""
    bound = session._infer._kept  # type: ignore[union-attr]
    return {dict(shapes)["z"][0]: found for shapes, found in bound.items()}


async def test_buffers_are_kept_for_a_bounded_number_of_shapes(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "_KEPT_SHAPES", 3)
    session = opened(tiny, io_binding=True)
    for count in (1, 2, 3, 1, 4):
        await session.run([random_rows(count)])
    assert list(kept(session)) == [3, 1, 4]
    await session.close()


async def test_buffers_are_kept_for_a_bounded_number_of_bytes(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_bytes = random_rows(1).nbytes + 16 * 16 * 3
    monkeypatch.setattr(binding, "_KEPT_BYTES", 6 * row_bytes)
    session = opened(tiny, io_binding=True)
    for count in (1, 2, 3, 4):
        await session.run([random_rows(count)])
    assert list(kept(session)) == [4]
    assert kept(session)[4].nbytes == 4 * row_bytes
    await session.run([random_rows(40)])  # more than may be kept: it runs, and nothing else stays
    assert list(kept(session)) == [40]
    await session.close()


async def test_a_bucket_runs_through_the_same_buffers_every_time(tiny: Bundle) -> None:
    session = opened(tiny, io_binding=True)
    places: list[set[int]] = []
    for seed in range(3):
        await session.run([random_rows(5, seed=seed)])
        [bound] = kept(session).values()
        assert [value.shape() for value in bound.outputs] == [[5, 16, 16, 3]]
        places.append({value.data_ptr() for value in (*bound.inputs.values(), *bound.outputs)})
    assert len(places[0]) == 4
    assert places[0] == places[1] == places[2]
    await session.close()


async def test_an_output_of_unknown_size_is_left_to_onnx_runtime(tmp_path: Path) -> None:
    size = FreeSize(min_side=8, max_side=16, max_pixels=256, stride=4, warm=((8, 8),))
    free = picture_bundle(tmp_path, size=size)
    [bound, plain] = [opened(free, "translate", io_binding=chosen) for chosen in (True, False)]
    for height, width in ((8, 12), (16, 16)):
        picture = np.random.default_rng(0).random((2, 3, height, width), dtype=np.float32)
        rows = Rows({"source": picture, "strength": np.ones(2, np.float32)})
        found = [(await session.run([rows]))[0]["image"] for session in (bound, plain)]
        assert found[0].shape == (2, height, width, 3)
        assert np.array_equal(found[0], found[1])
    assert [each.outputs for each in bound._infer._kept.values()] == [(), ()]  # type: ignore[union-attr]
    await asyncio.gather(bound.close(), plain.close())


async def test_each_bucket_has_a_graph_of_its_own_to_capture_and_keeps_its_buffers(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "_KEPT_SHAPES", 1)
    session = opened(tiny, io_binding=True, gpu=Gpu(cuda_graphs=True))
    for count in (1, 2, 4, 2, 1):
        await session.run([random_rows(count)])
    ids = {
        count: bound.options.get_run_config_entry("gpu_graph_id")
        for count, bound in kept(session).items()
    }
    assert ids == {1: "1", 2: "2", 4: "3"}
    await session.close()


# --- Several devices. ---


async def test_runs_are_spread_over_sessions_and_each_keeps_to_its_thread(tiny: Bundle) -> None:
    members = [opened(tiny, io_binding=True) for _ in range(3)]
    spread = SpreadSession(members)
    rows = random_rows(2)
    [alone] = await members[0].run([rows])
    together = threading.Barrier(3, timeout=30)
    threads: list[int] = []

    def meet(rows: int, padding_rows: int, seconds: float) -> None:
        threads.append(threading.get_ident())
        together.wait()

    spread.observe = meet
    for _ in range(2):
        found = await asyncio.gather(*(spread.run([rows]) for _ in range(3)))
        assert all(np.array_equal(each["image"], alone["image"]) for [each] in found)
    assert len(set(threads[:3])) == 3
    assert set(threads[:3]) == set(threads[3:])
    spread.observe = None
    assert spread.bucket_rows == members[0].bucket_rows
    await asyncio.gather(spread.close(), spread.close())
    with pytest.raises(RuntimeError):
        await spread.run([rows])


async def test_a_run_that_failed_is_over_for_its_device(tiny: Bundle) -> None:
    members = [opened(tiny) for _ in range(2)]
    spread = SpreadSession(members)
    poisoned = Rows(dict(random_rows(1).arrays) | {"label": np.array([CLASSES])})
    for _ in range(3):
        with pytest.raises(Exception, match="out of data bounds"):
            await spread.run([poisoned])
    assert spread._running == [0, 0]
    await spread.close()
