"""``--processes 2`` and ``torchrun`` as a user has them; one that is killed takes the others along.

Programs are started and killed here: a few tens of seconds.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny import newest, stats, tiny_config, write_npz
from training.checkpoint import checkpoints
from training.config import dump_config

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]
WITHIN_S = 900  # of a machine that has much else to do
GANYMEDE = [sys.executable, "-m", "ganymede"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """A long run of small steps, with a checkpoint every other one."""
    path = tmp_path / "tiny.yaml"
    source = write_npz(tmp_path / "stripes.npz")
    settings: dict[str, Any] = {"tick_kimg": 0.016, "checkpoint_kimg": 0.016, "ema_kimg": 0.03}
    path.write_text(dump_config(tiny_config(source, kimg=1000.0, **settings)))
    return path


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs; what is left of them at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def popen(*command: str | Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        started.append(
            subprocess.Popen(
                list(map(str, command)), stdout=pipe, stderr=pipe, text=True, env=environment
            )
        )
        return started[-1]

    yield popen
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


def others(of: subprocess.Popen[str]) -> list[int]:
    """The processes that this one started."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(of.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def kept(run: Path, of: subprocess.Popen[str]) -> None:
    """Wait for the first checkpoint."""
    while not checkpoints(run / "checkpoints"):
        try:
            of.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"it ended: {of.communicate()[1]}")


def gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("which", ["the first", "another"])
def test_a_process_that_is_killed_stops_the_run_and_leaves_a_good_checkpoint(
    which: str, start: Start, preset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = start(*GANYMEDE, "train", preset, "--out", run, "--processes", "2")
    kept(run, first)
    (other,) = others(first)
    os.kill(first.pid if which == "the first" else other, signal.SIGKILL)
    _, told = first.communicate(timeout=WITHIN_S)  # ends when both have closed the pipe
    assert re.search(r"ganymede: process \d has lost another process of this run", told)
    assert "Traceback" not in told
    assert gone(other)
    if which == "another":
        assert first.returncode == 2
    seen = checkpoints(run / "checkpoints")[-1].name
    again = start(*GANYMEDE, "resume", run, "--time-budget", "1s")
    assert again.communicate(timeout=WITHIN_S)[0] == f"{run}\n"
    assert checkpoints(run / "checkpoints")[-1].name > seen


def test_sigterm_saves_once_and_ends_both(start: Start, preset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = start(*GANYMEDE, "train", preset, "--out", run, "--processes", "2")
    kept(run, first)
    (other,) = others(first)
    first.terminate()
    printed, told = first.communicate(timeout=WITHIN_S)
    assert (first.returncode, printed) == (128 + signal.SIGTERM, f"{run}\n")
    assert told.count("Stopped and saved, because SIGTERM came") == 1
    assert gone(other)


def test_torchrun_trains_as_processes_do(start: Start, preset: Path, tmp_path: Path) -> None:
    short = ["--set", "schedule.kimg=0.064"]
    for name, command in (
        ("by-torchrun", [*TORCHRUN, "-m", "ganymede", "train", preset]),
        ("by-us", [*GANYMEDE, "train", preset, "--processes", "2"]),
    ):
        done = start(*command, *short, "--out", tmp_path / name)
        printed, told = done.communicate(timeout=WITHIN_S)
        assert (done.returncode, printed) == (0, f"{tmp_path / name}\n"), told
    assert stats(tmp_path / "by-torchrun") == stats(tmp_path / "by-us")
    one, other = newest(tmp_path / "by-torchrun"), newest(tmp_path / "by-us")
    assert all(one[name].equal(other[name]) for name in one | other)
