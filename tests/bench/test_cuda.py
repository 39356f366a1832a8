"""What is asked of a GPU, asked of the CPU: that the code runs, and that it sees what is wrong."""

from __future__ import annotations

import base64
import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest

from bench import cuda, cuda_sessions
from bench.command import BenchError
from bench.cuda import Part, Skipped
from bench.cuda_sessions import Run
from bench.loads import Closed, Served
from bench.pictures import pillow_png
from bench.training import configure
from export.manifest import FixedSize
from export.rows import Rows
from service.config import RuntimeUnusable
from service.onnx_runtime.providers import Gpu, Provider
from tests.tiny import tiny_bundle


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(cuda_sessions, "BUDGET_S", 0.0)
    monkeypatch.setattr(cuda_sessions, "BUCKETS", (1, 2, 4))
    monkeypatch.setattr(cuda_sessions, "FEW", (1, 4))
    monkeypatch.setattr(cuda_sessions, "REPEATS", 2)
    bundle = tiny_bundle(tmp_path)
    graph, size = bundle.manifest.graph("generate"), bundle.manifest.size
    assert isinstance(size, FixedSize)
    return Served("tiny", tmp_path, bundle.file(graph.onnx), graph, size)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound runs are three levels off, from two rows on."""
    bound = cuda_sessions.bound

    def wrong(*arguments: object) -> Run:
        run = bound(*arguments)  # type: ignore[arg-type]
        return lambda feed: run(feed) ^ np.uint8(3 if len(feed["z"]) > 1 else 0)

    monkeypatch.setattr(cuda_sessions, "bound", wrong)


# --- Without a GPU. ---


def test_without_a_gpu_it_says_so_and_that_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for visible, words in ((None, "no NVIDIA driver"), (0, "a driver that shows no GPU")):
        monkeypatch.setattr(cuda, "visible_gpus", lambda visible=visible: visible)
        cuda.main(json=tmp_path / "cuda.json")
        assert f"no GPU: there is {words} here" in capsys.readouterr().out
        written = json.loads((tmp_path / "cuda.json").read_text())
        assert (written["gpu"], written["complete"]) == (None, False)
        assert words in written["reason"]


# --- Parts. ---


def test_bound_runs_are_held_against_plain_ones(model: Served) -> None:
    rows = cuda_sessions.binding(model, "cpu")
    assert [(row["rows"], row["differing"], row["passed"]) for row in rows] == [
        (1, 0, True),
        (4, 0, True),
    ]


@pytest.mark.usefixtures("broken")
def test_bound_runs_that_differ_are_seen(model: Served) -> None:
    rows = cuda_sessions.binding(model, "cpu")
    assert [(row["levels_from_plain"], row["passed"]) for row in rows] == [(0, True), (3, False)]


def test_runs_that_are_not_the_same_every_time_are_seen(
    model: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, runs = cuda_sessions.bound, itertools.count()

    def restless(model: Served, provider: Provider) -> Run:
        run = bound(model, provider)
        return lambda feed: run(feed) ^ np.uint8(next(runs) % 3 == 0)

    monkeypatch.setattr(cuda_sessions, "bound", restless)
    rows = cuda_sessions.binding(model, "cpu")
    assert all(row["differing"] and row["levels_from_plain"] <= 1 for row in rows)
    assert [row["passed"] for row in rows] == [False, False]


def test_every_bucket_is_timed(model: Served) -> None:
    rows = cuda_sessions.buckets(model, "cpu")
    assert [row["rows"] for row in rows] == [1, 2, 4]
    assert all(min(row["p50_ms"], row["plain_ms"], row["images_per_s"]) > 0 for row in rows)


def test_pictures_are_held_against_those_of_the_cpu_in_every_bucket(model: Served) -> None:
    rows = cuda_sessions.deviation(model, "cpu")
    assert [(row["as"], row["rows"]) for row in rows] == [
        (name, rows) for name in ("service", "TF32") for rows in (1, 2, 4)
    ]
    assert {row["values"] for row in rows} == {4 * 8 * 8}
    assert {(row["levels"], row["differing"], row["levels_from_alone"]) for row in rows} == {
        (0, 0, 0)
    }
    assert [row.get("passed") for row in rows] == [True] * 3 + [None] * 3


@pytest.mark.usefixtures("broken")
def test_pictures_that_are_too_far_from_the_cpus_are_seen(model: Served) -> None:
    rows = [row for row in cuda_sessions.deviation(model, "cpu") if row["as"] == "service"]
    assert [row["passed"] for row in rows] == [True, False, False]
    assert [row["levels"] for row in rows] == [0, 3, 3]


def test_every_way_to_run_is_timed_and_what_is_refused_is_told(
    model: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = cuda_sessions.bound

    def refuse(model: Served, provider: object, gpu: Gpu) -> Run:
        if gpu.cuda_graphs:
            raise RuntimeError("cannot be captured")
        return bound(model, "cpu", gpu)

    monkeypatch.setattr(cuda_sessions, "bound", refuse)
    rows = cuda_sessions.ways(model, "cpu")
    searches = ("heuristic", "default", "exhaustive")
    assert [(row["cudnn_search"], row["rows"], row["passed"]) for row in rows[:6]] == [
        (search, rows, True) for search in searches for rows in (1, 4)
    ]
    assert [(row["cudnn_search"], row["refused"]) for row in rows[6:]] == [
        (search, "cannot be captured") for search in searches
    ]


def test_tensorrt_is_held_against_the_cpu(model: Served) -> None:
    rows = cuda_sessions.tensorrt(model, "cpu")
    assert [(row["rows"], row["levels"], row["passed"]) for row in rows] == [
        (1, 0, True),
        (4, 0, True),
    ]


@pytest.mark.parametrize(("leak_mib", "passed"), [(0.0, True), (100.0, False)])
def test_memory_that_grows_with_every_reload_is_seen(
    model: Served, leak_mib: float, passed: bool
) -> None:
    used = [1000.0]

    def used_mib() -> float:
        used[0] += leak_mib
        return used[0]

    [row] = cuda_sessions.reloads(model, "cpu", 7, used_mib)
    assert (row["reloads"], row["growth_mib"], row["passed"]) == (7, leak_mib, passed)


def test_memory_that_nobody_tells_is_no_verdict(model: Served) -> None:
    [row] = cuda_sessions.reloads(model, "cpu", 2, lambda: None)
    assert "passed" not in row


def test_the_dcgan_is_trained_in_both_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "BASE_CHANNELS", 2)
    rows = cuda.training("cpu", 8, 1, 1)
    assert [(row["precision"], row["batch"]) for row in rows] == [("float32", 8), ("bfloat16", 8)]
    assert all(row["images_per_s"] > 0 for row in rows)


def test_training_is_left_out_where_torch_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(Skipped, match="sees no GPU"):
        cuda.training("cuda", 8, 1, 1)


def test_the_batch_of_the_training_can_be_set() -> None:
    schedule = configure("dcgan-fashion-fast", 2, 3, 4, 16).schedule
    assert (schedule.batch, schedule.tick_kimg) == (16, 0.048)
    assert configure("dcgan-fashion-fast", 2, 3, 4).schedule.batch == 64


@pytest.mark.parametrize(("images", "side"), [(2, 8), (1, 9)])
def test_answers_that_are_not_what_was_asked_for_are_seen(
    model: Served, images: int, side: int
) -> None:
    def answer(side: int) -> bytes:
        file = base64.b64encode(pillow_png(np.zeros((side, side, 1), np.uint8))).decode()
        return json.dumps({"images": [{"data": file}]}).encode()

    cuda.check(answer(8), Closed(1), model)
    with pytest.raises(BenchError, match="tiny answered with pictures of"):
        cuda.check(answer(side), Closed(1, images), model)


# --- How it is told. ---


def fail() -> list[cuda_sessions.Row]:
    raise RuntimeError("no kernel image")


def skip() -> list[cuda_sessions.Row]:
    raise Skipped("not here")


def test_whatever_happens_in_a_part_is_its_result_and_no_more() -> None:
    now = time.monotonic()
    found = [
        cuda.measure("good", lambda: [{"passed": True}, {"x": 1}], now),
        cuda.measure("bad", lambda: [{"passed": True}, {"passed": False}], now),
        cuda.measure("plain", lambda: [{"x": 1}], now),
        cuda.measure("broken", fail, now),
        cuda.measure("absent", skip, now),
        cuda.measure("late", fail, now - 2 * cuda.LATEST_S),
    ]
    assert [(part.status, part.reason) for part in found] == [
        ("passed", ""),
        ("MISSED", ""),
        ("measured", ""),
        ("failed", "RuntimeError: no kernel image"),
        ("skipped", "not here"),
        ("skipped", "no time is left"),
    ]
    assert [cuda.worst([part]) for part in found] == [0, 1, 0, 1, 0, 0]


def test_parts_that_need_what_is_not_there_are_left_out_with_the_reason(
    model: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(provider: str) -> None:
        raise RuntimeUnusable(f"no {provider} here")

    monkeypatch.setattr(cuda, "choose_provider", refuse)
    monkeypatch.setattr(cuda, "subjects", lambda scratch: iter([model]))
    monkeypatch.setattr(cuda, "training", lambda *arguments: [{"images_per_s": 1.0}])
    parts = {part.name: part for part in cuda.measured("cuda", 1, tmp_path)}
    assert parts.pop("versions").rows[0]["onnxruntime"]
    assert parts.pop("models").rows == [{"model": "tiny", "pictures": "8 x 8"}]
    assert parts.pop("training").status == "measured"
    assert {part.status for part in parts.values()} == {"skipped"}
    assert parts.pop("TensorRT").reason == "no tensorrt here"
    assert {part.reason for part in parts.values()} == {"no cuda here"}


def test_a_table_has_a_column_for_whatever_a_row_tells() -> None:
    drawn = cuda.table(Part("x", "failed", "why", rows=[{"a": 1, "b": 0.1234}, {"c": 1234.5}]))
    assert [column.header for column in drawn.columns] == ["a", "b", "c"]
    assert [list(column.cells) for column in drawn.columns] == [
        ["1", ""],
        ["0.123", ""],
        ["", "1,234"],
    ]
    assert drawn.title == "x: failed: why"


def test_pictures_are_compared_in_levels() -> None:
    black, other = np.zeros((1, 2, 2, 1), np.uint8), np.zeros((1, 2, 2, 1), np.uint8)
    other[0, 0, 0, 0] = 255
    assert cuda_sessions.compare(black, other) == {
        "levels": 255,
        "differing": 1,
        "values": 4,
        "share": 0.25,
    }


def test_inputs_have_a_seed_for_each_row(model: Served) -> None:
    feed: Rows = cuda_sessions.feeds(model, 4)
    assert len(np.unique(feed["z"], axis=0)) == 4
