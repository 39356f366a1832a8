"""Workers whose supervisor was killed end, also while one of their inferences never does."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import httpx
import pytest

from bench.soak_trouble import worker_pids
from tests.acceptance.asking import eventually
from tests.acceptance.troublesome import FOR_EVER, troublesome_bundle
from tests.service.processes import PATIENCE_S, running

pytestmark = pytest.mark.acceptance


def test_workers_with_a_run_that_never_ends_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    models = tmp_path / "models"
    troublesome_bundle(models)
    options = ("--models", models, "--workers", "2")
    with running(tmp_path / "log", *options, LANES="2", DRAIN_S="0") as (process, url):
        asking = threading.Thread(target=_ask_for_ever, args=(url,))
        asking.start()
        eventually(lambda: [] if _is_overdue(url) else ["nothing is overdue yet"])
        workers = worker_pids(process.pid)
        assert len(workers) == 2
        process.kill()
        process.wait(PATIENCE_S)
        eventually(lambda: [f"worker {pid}" for pid in workers if _lives(pid)])
        asking.join(PATIENCE_S)
        assert not asking.is_alive()


def _ask_for_ever(url: str) -> None:
    with contextlib.suppress(httpx.TransportError):  # its worker dies
        httpx.post(f"{url}/generate", json={"turns": FOR_EVER}, timeout=None)


def _is_overdue(url: str) -> bool:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    overdue = [line for line in lines if line.startswith("ganymede_overdue_seconds{")]
    return any(float(line.rpartition(" ")[2]) > 0 for line in overdue)


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
