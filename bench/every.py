"""``python -m bench.quality --all``: every fast preset trained, measured, and put into the table.

Each entry is a process of its own with one thread, two of them at a time: on two cores that is
half as much again as one with two threads. What is measured is kept in a folder as it comes, and a
second call goes on from there; the table in RESULTS.md is written anew after each.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.command import BenchError, run
from bench.lines import Job, jobs
from bench.machine import describe_machine
from bench.measures import MEASURES, RUNS, Budget, rows_of
from bench.progress import shown
from training.config import load_preset, preset_names
from training.lab import pairs as lab_pairs

RESULTS = Path(__file__).parent / "RESULTS.md"
BEGIN, END = "<!-- bench.quality --all: begin -->", "<!-- bench.quality --all: end -->"
COLUMNS = (
    "system",
    "preset",
    "data",
    "images seen",
    "minutes",
    "metric",
    "ours",
    "published or baseline",
    "verdict",
)
STOP_S = 30  # for a process to save what it has

Rows = list[dict[str, Any]]


def run_all(
    folder: Path, only: Sequence[str], budget: Budget, results: Path, at_once: int
) -> dict[str, str]:
    """Measure what is not measured yet; what failed, by name, with the reason.

    Args:
        folder: of runs and of what was measured.
        only: entries; none is all.
        budget: of each.
        results: the file that holds the table; entries that are not in ``only`` keep their lines.
        at_once: processes.
    """
    wanted = chosen(only)
    folder.mkdir(parents=True, exist_ok=True)
    waiting = [name for name in wanted if kept(folder, name, wanted[name], budget) is None]
    failed: dict[str, str] = {}
    with shown() as progress, ThreadPoolExecutor(at_once) as pool, _processes() as processes:
        done = len(wanted) - len(waiting)
        progress("entries", done, len(wanted))
        futures = {pool.submit(_measure, processes, folder, n, budget): n for n in waiting}
        for future in as_completed(futures):
            name, done = futures[future], done + 1
            if reason := future.result():
                failed[name] = reason
                print(f"{name}: {reason}", file=sys.stderr)
            progress("entries", done, len(wanted))
            write_table(results, folder, budget)
    write_table(results, folder, budget)
    return failed


def chosen(only: Sequence[str]) -> dict[str, Job]:
    """The entries of these names.

    Raises:
        BenchError: there is none of that name.
    """
    known = jobs()
    if unknown := [name for name in only if name not in known]:
        raise BenchError(f"no entry {', '.join(unknown)}: there are {', '.join(known)}")
    return {name: job for name, job in known.items() if not only or name in only}


def kept(folder: Path, name: str, job: Job, budget: Budget) -> dict[str, Any] | None:
    """What was measured of an entry as it is now, if it was."""
    try:
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    return found if found.get("key") == key(name, job, budget) else None


def key(name: str, job: Job, budget: Budget) -> str:
    """Another key is another measurement: of the settings, the lines and the budget."""
    settings = _settings(name, budget)
    facts = json.dumps([name, asdict(job), asdict(budget), settings], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _settings(name: str, budget: Budget) -> Any:  # noqa: ANN401
    """A preset's settings; an experiment's stand in its source, and in that of what it trains."""
    if name in preset_names():
        return load_preset(name, budget.settings).model_dump(mode="json")
    if name in RUNS:
        return [
            inspect.getsource(module)
            for module in (sys.modules[RUNS[name].func.__module__], lab_pairs)
        ]
    return None


def measure(folder: Path, name: str, budget: Budget) -> None:
    """Measure one entry, and write what was found."""
    job = chosen([name])[name]
    before = key(name, job, budget)
    with shown() as progress:
        measured = MEASURES[job.measure](name, job, folder, budget, progress)
    facts = {"key": before, "machine": describe_machine(), "rows": rows_of(name, job, measured)}
    partial = folder / f".{name}.partial"
    partial.write_text(json.dumps(facts, indent=1) + "\n")
    partial.replace(folder / f"{name}.json")


class _Running:
    """The processes of this measurement, so that none outlives it."""

    def __init__(self) -> None:
        self._lock, self._stopping = threading.Lock(), False
        self._running: set[subprocess.Popen[bytes]] = set()

    def call(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
        with log.open("ab") as output:
            with self._lock:
                if self._stopping:
                    return -1
                process = subprocess.Popen(
                    command, stdout=output, stderr=output, env=environment, start_new_session=True
                )
                self._running.add(process)
            status = process.wait()
        with self._lock:
            self._running.discard(process)
        return status

    def stop(self) -> None:
        """End them: training saves where it is, and can go on."""
        with self._lock:
            self._stopping, running = True, [process.pid for process in self._running]
        for group in running:
            _signal(group, signal.SIGTERM)
        until = time.monotonic() + STOP_S
        while any(_signal(group, 0) for group in running) and time.monotonic() < until:
            time.sleep(0.05)
        for group in running:
            _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Signal all processes of a group, if there are any left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def _processes() -> Iterator[_Running]:
    """Those of this measurement; none is left by Ctrl-C, or by SIGTERM."""
    running, before = _Running(), signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield running
    except BaseException:
        running.stop()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _measure(processes: _Running, folder: Path, name: str, budget: Budget) -> str:
    """Nothing, or why it failed: the last line that it wrote."""
    settings = [part for one in budget.settings for part in ("--set", one)]
    counts = ["--samples", str(budget.samples), "--seeds", str(budget.seeds)]
    command = [sys.executable, "-m", "bench.every", name, "--out", str(folder), *counts, *settings]
    log = folder / f"{name}.log"
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    if processes.call(command, log, os.environ | threads) == 0:
        return ""
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'it ended without a word'} ({log})"


def write_table(results: Path, folder: Path, budget: Budget) -> None:
    """Put every entry that is measured between the marks in ``results``, or at its end."""
    found = {name: kept(folder, name, job, budget) for name, job in jobs().items()}
    rows = [row for facts in found.values() if facts for row in facts["rows"]]
    text = results.read_text() if results.exists() else "# Measured\n"
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n## Every fast preset\n\n{BEGIN}\n{END}\n"
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    partial = results.with_name(f".{results.name}.partial")
    partial.write_text(f"{head}{BEGIN}\n{as_markdown(rows)}\n{END}{tail}")
    partial.replace(results)


def as_markdown(rows: Rows) -> str:
    """The table."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    bar = "" if row["bar"] is None else f"{row['bar']:.4g}, "
    ours = "" if row["ours"] is None else f"{row['ours']:.4g}"
    seen = "" if row["images_seen"] is None else f"{row['images_seen'] / 1000:,.0f}k"
    return (
        row["system"],
        f"`{row['preset']}`",
        row["data"],
        seen,
        f"{row['minutes']:.1f}",
        row["metric"],
        ours,
        f"{bar}{row['beside']}",
        row["verdict"],
    )


def main(
    name: Annotated[str, typer.Argument(help="An entry of the table.")],
    out: Annotated[Path, typer.Option(help="Folder of runs and of what was measured.")],
    samples: Annotated[int, typer.Option(min=20)] = Budget().samples,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
) -> None:
    """Measure one entry of the table, as ``bench.quality --all`` does."""
    measure(out, name, Budget(tuple(settings or ()), samples, seeds))


if __name__ == "__main__":
    run(main)
