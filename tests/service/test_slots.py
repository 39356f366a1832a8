"""Several workers' series as one: totals of all, and nothing of the dead but their counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from service import slots
from service.metrics import Metrics
from service.processes import Processes
from service.slots import SlotGauge, occupy
from service.supervisor import vacate
from tests.service.test_metrics import offer, use

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``occupy`` does is for the rest of a process: the next test starts afresh."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setattr(SlotGauge, "_functions", {})


def worker(folder: Path, slot: int) -> Metrics:
    """What is used for the first time from now on is in this slot's files."""
    occupy(folder, slot)
    return Metrics(folder)


def read(metrics: Metrics) -> Samples:
    body, _ = metrics.expose()
    return {
        (sample.name.removeprefix("ganymede_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return read(metrics).get((name, tuple(sorted(labels.items()))))


def test_any_worker_shows_the_totals_of_all(tmp_path: Path) -> None:
    first = worker(tmp_path, 0)
    first.images.labels("tiny").inc(3)
    second = worker(tmp_path, 1)
    second.images.labels("tiny").inc(4)
    second.phase_seconds.labels("run", "tiny").observe(0.5)
    for asked in (first, second):
        assert value(asked, "images_total", model="tiny") == 7
        assert value(asked, "phase_seconds_sum", model="tiny", phase="run") == 0.5
        assert value(asked, "phase_seconds_count", model="tiny", phase="run") == 1
        assert value(asked, "workers") == 2


def test_gauges_are_joined_as_each_says(tmp_path: Path) -> None:
    waiting = [2.0]
    first = worker(tmp_path, 0)
    offer(first, lambda: waiting[0])
    first.ready.set_function(lambda: 1.0)
    second = worker(tmp_path, 1)
    offer(second, lambda: 5.0)
    second.ready.set_function(lambda: 0.0)
    waiting[0] = 3.0
    assert value(second, "queue_rows", model="tiny") == 8
    assert value(second, "queue_fullness_ratio", model="tiny") == 5
    assert value(second, "queue_age_seconds", model="tiny") == 5
    assert value(second, "ready") == 0


def test_a_replacement_goes_on_with_the_counts(tmp_path: Path) -> None:
    first = worker(tmp_path, 0)
    first.images.labels("tiny").inc(3)
    second = worker(tmp_path, 1)
    files = {path.name for path in tmp_path.iterdir()}
    vacate(tmp_path, 0)
    third = worker(tmp_path, 0)
    third.images.labels("tiny").inc(1)
    third.worker_restarts.inc()
    assert value(second, "images_total", model="tiny") == 4
    assert value(second, "worker_restarts_total") == 1
    assert {path.name for path in tmp_path.iterdir()} == files


def test_gauges_of_the_dead_are_gone_and_their_counts_stay(tmp_path: Path) -> None:
    first = worker(tmp_path, 0)
    offer(first, lambda: 2.0)
    first.ready.set(0)
    first.cancellations.inc()
    second = worker(tmp_path, 1)
    second.ready.set(1)
    vacate(tmp_path, 0)
    SlotGauge._functions.clear()  # they ended with its process
    assert value(second, "workers") == 1
    assert value(second, "queue_rows", model="tiny") is None
    assert value(second, "ready") == 1
    assert value(second, "cancellations_total") == 1


def test_what_is_withdrawn_is_not_shown_until_it_is_offered_again(tmp_path: Path) -> None:
    metrics = worker(tmp_path, 0)
    offer(metrics, lambda: 2.0)
    metrics.model_info.labels("tiny", "1", "cpu").set(1)
    metrics.withdraw("tiny")
    metrics.model_info.remove("tiny", "1", "cpu")
    shown = {name for name, _ in read(metrics)}
    assert not shown & {"queue_rows", "queue_fullness_ratio", "queue_age_seconds", "model_info"}
    offer(metrics, lambda: 3.0)
    assert value(metrics, "queue_rows", model="tiny") == 3


def test_the_series_and_their_labels_are_those_of_one_process(tmp_path: Path) -> None:
    alone = use(Metrics())
    shared = use(worker(tmp_path, 0))
    assert read(shared).keys() == read(alone).keys()


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    occupy(tmp_path, 0)
    made = {path.name for path in tmp_path.glob("*.db")}
    use(Metrics(tmp_path))
    assert {path.name for path in tmp_path.glob("*.db")} == made
    assert {path.stat().st_size for path in tmp_path.glob("*.db")} == {slots._FILE_BYTES}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing(tmp_path: Path) -> None:
    body, _ = use(worker(tmp_path, 0)).expose()
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def processes(folder: Path) -> dict[str, float]:
    families = Processes(folder, os.getpid()).collect()
    return {sample.name: sample.value for family in families for sample in family.samples}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_processes_are_summed_and_their_time_never_falls(tmp_path: Path) -> None:
    alone = processes(tmp_path)
    program = "print(sum(range(3_000_000)), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        (tmp_path / "0.pid").write_text(str(child.pid))
        both = processes(tmp_path)
        child.communicate(b"\n")
    after = processes(tmp_path)  # its file is still there, and it is not
    for name in ("resident_memory_bytes", "virtual_memory_bytes", "open_fds"):
        assert both[f"process_{name}"] > after[f"process_{name}"]
    assert after["process_cpu_seconds_total"] >= both["process_cpu_seconds_total"]
    assert both["process_cpu_seconds_total"] > alone["process_cpu_seconds_total"]
    assert both["process_start_time_seconds"] == alone["process_start_time_seconds"]
