"""The table of every fast preset: what is in it, who wins, and that it goes on where it stopped."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import every, lines, measures
from bench.baselines import gaussian_sampler
from bench.command import BenchError
from bench.every import BEGIN, END, as_markdown, kept, key, run_all, write_table
from bench.lines import Job, Line, jobs
from bench.measures import Budget, Measured, rows_of, verdict
from export.manifest import Quality
from export.reality import Labelled
from training.config import preset_names
from training.data.progress import silent
from training.lab.experiments import EXPERIMENTS
from training.lab.finding import Finding

FD = Line("FD-judge", "less", "baseline", "a Gaussian")


def figure(value: float, metric: str = "FD-judge", reference: float | None = None) -> Quality:
    return Quality(metric=metric, value=value, reference=reference, samples=10, protocol="of ten")


def test_every_fast_preset_is_in_the_table_and_every_entry_can_be_measured() -> None:
    entries = jobs()
    assert {name for name in preset_names() if name.endswith("-fast")} <= entries.keys()
    assert {job.measure for job in entries.values()} <= measures.MEASURES.keys()
    known = {*preset_names(), *EXPERIMENTS}
    assert entries.keys() <= known
    assert lines.JOBS.keys() <= entries.keys()
    assert next(iter(entries)) == "stacked-mnist"  # the longest begins first


@pytest.mark.parametrize(
    ("line", "ours", "bar", "said"),
    [
        (FD, 2.0, 4.0, "wins by 50.0%"),
        (FD, 5.0, 4.0, "LOSES by 25.0%"),
        (Line("coverage", "more", 0.9, ""), 0.99, 0.9, "wins by 10.0%"),
        (Line("coverage", "more", 0.9, ""), 0.81, 0.9, "LOSES by 10.0%"),
        (FD, 4.0, 4.0, "equals it"),
        (FD, 1.0, 0.0, "LOSES"),
        (FD, 1.0, None, "nothing to compare with"),
    ],
)
def test_a_verdict_is_ours_against_the_bar(
    line: Line, ours: float, bar: float | None, said: str
) -> None:
    assert verdict(line, ours, bar) == said


def test_a_line_takes_its_bar_from_where_it_says() -> None:
    job = Job(
        lines=(
            FD,
            Line("squared error", "less", "reference", "PCA"),
            Line("squared error", "less", 0.3, "published"),
            Line("FID", "less", 1.0, "published"),
        )
    )
    figures = {"FD-judge": figure(2.0), "squared error": figure(0.2, "squared error", 0.1)}
    rows = rows_of("it", job, Measured("gan", "clothes", 5_000, 1.5, figures, {"FD-judge": 3.0}))
    assert [row["bar"] for row in rows] == [3.0, 0.1, 0.3, None]
    assert [row["verdict"] for row in rows][3] == "not to be had here"
    table = as_markdown(rows).splitlines()
    assert table[2] == (
        "| gan | `it` | clothes | 5k | 1.5 | FD-judge | 2 | 3, a Gaussian | wins by 33.3% |"
    )
    assert table[3].endswith("| 0.2 | 0.1, PCA | LOSES by 100.0% |")


def test_the_plain_generator_draws_what_it_learnt() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2
    ramp = np.linspace(0, 60, 64).reshape(8, 8, 1)
    images = 60 + 80 * labels[:, None, None, None] + ramp * random.uniform(0, 1, (400, 1, 1, 1))
    known = Labelled(images.astype(np.uint8), labels)
    sample = gaussian_sampler(known, 2)
    made = sample(labels, list(range(400)))
    for k in range(2):
        ours, real = made[labels == k], known.images[labels == k]
        np.testing.assert_allclose(ours.mean(0), real.mean(0), atol=4)
        np.testing.assert_allclose(ours.std(0), real.std(0), atol=4)
    assert (sample(labels[:3], [5, 1, 9])[1] == sample(labels[1:2], [1])[0]).all()
    assert gaussian_sampler(known, 0)(labels, list(range(400))).std(0).mean() > 30


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> dict[str, Job]:
    """A table of two entries that are no presets."""
    entries = {"one": Job(lines=(FD,)), "two": Job(lines=(FD,))}
    monkeypatch.setattr(every, "jobs", lambda: entries)
    return entries


def save(folder: Path, name: str, job: Job, value: float) -> None:
    measured = Measured("gan", "clothes", 1_000, 0.5, {"FD-judge": figure(value)}, {"FD-judge": 3})
    facts = {"key": key(name, job, Budget()), "rows": rows_of(name, job, measured)}
    (folder / f"{name}.json").write_text(json.dumps(facts))


@pytest.mark.parametrize("name", ["ring", "stacked-mnist"])
def test_an_experiment_that_changed_is_measured_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, read = lines.JOBS[name], inspect.getsource
    before = key(name, job, Budget())
    assert key(name, job, Budget()) == before
    monkeypatch.setattr(
        inspect, "getsource", lambda module: read(module).replace("beta2=0.99", "beta2=0.999")
    )
    assert key(name, job, Budget()) != before


def test_only_what_is_not_measured_is_measured(
    two: dict[str, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    def call(_: object, folder: Path, name: str, budget: Budget) -> str:
        called.append(name)
        save(folder, name, two[name], 4.0)
        return ""

    monkeypatch.setattr(every, "_measure", call)
    results = tmp_path / "RESULTS.md"
    results.write_text(f"# Measured\n\n{BEGIN}\nold\n{END}\n\n## More\n")
    save(tmp_path, "one", two["one"], 2.0)
    assert run_all(tmp_path, (), Budget(), results, 1) == {}
    assert called == ["two"]
    text = results.read_text()
    assert text.startswith("# Measured\n")
    assert text.endswith("## More\n")
    assert "old" not in text
    assert text.index("`one`") < text.index("`two`")
    assert "wins by 33.3%" in text
    assert "LOSES by 33.3%" in text
    assert run_all(tmp_path, (), Budget(), results, 1) == {}
    assert called == ["two"]
    assert results.read_text() == text


def test_another_budget_or_other_lines_are_another_measurement(
    two: dict[str, Job], tmp_path: Path
) -> None:
    save(tmp_path, "one", two["one"], 2.0)
    assert kept(tmp_path, "one", two["one"], Budget()) is not None
    assert kept(tmp_path, "one", two["one"], Budget(samples=20)) is None
    assert kept(tmp_path, "one", Job(lines=()), Budget()) is None
    (tmp_path / "one.json").write_text("{")
    assert kept(tmp_path, "one", two["one"], Budget()) is None


def test_a_failure_is_told_and_the_others_go_on(
    two: dict[str, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every.sys, "executable", "python-that-is-not-there")  # type: ignore[attr-defined]

    def popen(command: list[str], **options: Any) -> Any:  # noqa: ANN401
        name = command[3]
        save(tmp_path, name, two[name], 2.0)
        status = "exit 0" if name == "one" else "echo it went wrong; exit 3"
        return real(["sh", "-c", status], **options)

    real = subprocess.Popen
    monkeypatch.setattr(every.subprocess, "Popen", popen)  # type: ignore[attr-defined]
    failed = run_all(tmp_path, (), Budget(samples=30), tmp_path / "RESULTS.md", 2)
    assert list(failed) == ["two"]
    assert failed["two"].startswith("it went wrong (")


def test_ctrl_c_ends_what_was_begun(
    two: dict[str, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    ready = threading.Event()

    def popen(command: list[str], **options: Any) -> Any:  # noqa: ANN401
        begun.append(real(["sh", "-c", "sleep 60 & wait"], **options))
        ready.set()
        return begun[-1]

    def interrupted(futures: object) -> Any:  # noqa: ANN401
        assert ready.wait(60)
        raise KeyboardInterrupt

    real = subprocess.Popen
    monkeypatch.setattr(every.subprocess, "Popen", popen)  # type: ignore[attr-defined]
    monkeypatch.setattr(every, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_all(tmp_path, (), Budget(), tmp_path / "RESULTS.md", 1)
    assert [process.wait(60) for process in begun] == [-signal.SIGTERM]  # and no second began
    with pytest.raises(ProcessLookupError):
        os.killpg(begun[0].pid, 0)


def test_unknown_entries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no entry nobody: there are stacked-mnist"):
        run_all(tmp_path, ("nobody",), Budget(), tmp_path / "RESULTS.md", 1)


def test_a_table_is_begun_where_there_is_none(two: dict[str, Job], tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("# Measured\n\nSomething.\n")
    write_table(results, tmp_path, Budget())
    text = results.read_text()
    assert text.startswith("# Measured\n\nSomething.\n\n## Every fast preset\n")
    assert text.count(BEGIN) == text.count(END) == 1


def test_an_experiment_gives_the_objective_that_was_named_in_advance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def experiment(seeds: int) -> Finding:
        rows = [
            {"who": "ours: minimax", "modes": "8 (8 to 8)", "reverse KL": "0.010"},
            {
                "who": f"ours: {measures.GOOD}",
                "modes": told or seeds,
                "reverse KL": told or "0.050 (0.01 to 0.09)",
            },
            {"who": "published: X", "modes": "8", "reverse KL": "0.001"},
        ]
        return Finding("", "of points", rows, None)  # type: ignore[arg-type]

    monkeypatch.setattr(measures, "RUNS", {"ring": experiment})
    job = Job("lab", (Line("modes", "more", 7.8, ""), Line("reverse KL", "less", 0.07, "")), "8", 5)
    told = ""
    found = measures.of_lab("ring", job, tmp_path, Budget(), silent)
    assert (found.system, found.data, found.images_seen) == (measures.GOOD, "8", None)
    assert {name: one.value for name, one in found.figures.items()} == {
        "modes": 5,
        "reverse KL": 0.05,  # that another row is better does not count
    }
    told = "diverged"
    found = measures.of_lab("ring", job, tmp_path, Budget(), silent)
    rows = rows_of("ring", job, found)
    assert [row["verdict"] for row in rows] == ["LOSES by 100.0%", "LOSES by inf%"]


def test_every_experiment_of_the_table_runs_its_good_objective_alone() -> None:
    experiments = {name for name, job in lines.JOBS.items() if job.measure == "lab"}
    assert experiments == measures.RUNS.keys()
    for run in measures.RUNS.values():
        assert list(run.keywords["games"]) == [measures.GOOD]
