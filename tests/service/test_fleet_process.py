"""``ganymede serve --workers 2`` as real processes: shared evenly, replaced, and stopped."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.service.processes import (
    PATIENCE_S,
    ROOT,
    announcing,
    command,
    environment,
    lines,
    running,
)
from tests.tiny import tiny_bundle

STARTED = re.compile(r"Started server process \[(\d+)\]")


def worker_pids(log: Path) -> list[int]:
    """The workers that were ever started, in that order."""
    started = (STARTED.fullmatch(line["message"]) for line in lines(log))
    return [int(match[1]) for match in started if match]


def metrics(url: str) -> dict[str, float]:
    """The sum of each series over its labels."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def until(happened: Callable[[], bool]) -> None:
    """Ask again and again, for a bounded time."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline_s


class Client:
    """One connection, kept alive."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)

    def generate(self, seed: int) -> bytes | None:
        """The picture; None when the connection was lost."""
        try:
            self._connection.request("GET", f"/generate/tiny.png?seed={seed}")
            reply = self._connection.getresponse()
            body = reply.read()
        except ConnectionError:  # http.client's RemoteDisconnected is one
            return None
        assert reply.status == 200, body
        return body

    def close(self) -> None:
        self._connection.close()


def test_a_killed_worker_is_replaced_and_nobody_else_notices(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models")
    log = tmp_path / "log"
    with (
        running(log, "--models", tmp_path / "models", "--workers", "2") as (process, url),
        ExitStack() as stack,
    ):
        clients = [Client(url) for _ in range(8)]
        for client in clients:
            stack.callback(client.close)
        pictures = {client.generate(seed=7) for client in clients}
        assert len(pictures) == 1  # the same from both workers
        assert None not in pictures
        killed = worker_pids(log)[0]
        before = metrics(url)
        assert before["ganymede_workers"] == 2
        assert before["ganymede_images_total"] == 8
        os.kill(killed, signal.SIGKILL)
        again = [client.generate(seed=7) for client in clients]
        assert again.count(None) == 4  # they were shared out evenly
        assert set(again) == pictures | {None}

        def replaced() -> bool:
            newcomer = Client(url)
            assert newcomer.generate(seed=7) in pictures
            newcomer.close()
            now = metrics(url)
            assert now["ganymede_images_total"] >= before["ganymede_images_total"]
            assert now["process_cpu_seconds_total"] >= before["process_cpu_seconds_total"]
            return now["ganymede_workers"] == 2 and now["ganymede_ready"] == 1

        until(replaced)
        assert metrics(url)["ganymede_worker_restarts_total"] == 1
        assert len(worker_pids(log)) == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def versions(url: str) -> set[int]:
    """The versions that answer when none is pinned, asked often enough to reach every worker."""
    found = set()
    with ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(httpx.Client(base_url=url))
            found.add(client.post("/generate", json={"seed": 1}).json()["version"])
    return found


def test_a_change_reaches_every_worker_and_its_replacement(tmp_path: Path) -> None:
    for version in (1, 2):
        tiny_bundle(tmp_path / "models", version=version, salt=version)
    log = tmp_path / "log"
    options = "--models", tmp_path / "models", "--workers", "2"
    with running(log, *options) as (process, url):
        assert versions(url) == {2}
        changed = httpx.post(f"{url}/admin/models/tiny/default", json={"version": 1})
        assert changed.status_code == 200
        assert versions(url) == {1}
        refused = httpx.post(f"{url}/admin/models/tiny/default", json={"version": 3})
        assert refused.status_code == 404
        os.kill(worker_pids(log)[0], signal.SIGKILL)
        until(lambda: metrics(url)["ganymede_worker_restarts_total"] == 1)
        until(lambda: metrics(url)["ganymede_ready"] == 1)
        assert versions(url) == {1}
        assert httpx.post(f"{url}/admin/models/tiny/rollback").status_code == 200
        assert versions(url) == {2}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    with running(log, *options) as (process, url):
        assert versions(url) == {2}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def test_a_worker_that_hangs_is_left_out_and_replaced(tmp_path: Path) -> None:
    for version in (1, 2):
        tiny_bundle(tmp_path / "models", version=version, salt=version)
    log = tmp_path / "log"
    options = "--models", tmp_path / "models", "--workers", "2"
    with running(log, *options) as (process, url), ExitStack() as stack:
        hung = worker_pids(log)[0]
        os.kill(hung, signal.SIGSTOP)
        stack.callback(wake, hung)
        until(lambda: f"(process {hung}) does nothing" in log.read_text())
        assert versions(url) == {2}  # whoever comes gets the other
        changed = httpx.post(f"{url}/admin/models/tiny/default", json={"version": 1})
        assert changed.status_code == 200
        until(lambda: f"(process {hung}) was ended by SIGKILL; another" in log.read_text())
        assert versions(url) == {1}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def wake(process_id: int) -> None:
    """What is stopped would outlive a test that fails."""
    with suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGCONT)


def test_a_worker_that_is_told_to_end_finishes_and_is_replaced(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models")
    log = tmp_path / "log"
    with running(log, "--models", tmp_path / "models", "--workers", "2") as (process, url):
        os.kill(worker_pids(log)[0], signal.SIGTERM)
        until(lambda: metrics(url)["ganymede_worker_restarts_total"] == 1)
        [told] = [line["message"] for line in lines(log) if "takes its place" in line["message"]]
        assert "ended with 0" in told
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def test_workers_end_when_their_supervisor_was_killed(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models")
    log = tmp_path / "log"
    with running(log, "--models", tmp_path / "models", "--workers", "2") as (process, _):
        process.kill()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        assert process.stdout.read() == ""  # its end: nobody holds the pipe any more
    finished = [line for line in lines(log) if line["message"].startswith("Finished server")]
    assert len(finished) == 2


def test_the_second_signal_does_not_wait(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models")
    options = "--models", tmp_path / "models", "--workers", "2"
    with running(tmp_path / "log", *options) as (process, url):
        with announcing(url) as connection:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 0
            try:
                reply = connection.recv(1024)
            except ConnectionResetError:
                reply = b""
        assert reply == b""


def test_a_service_that_is_stopped_while_it_starts_ends_well(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    with subprocess.Popen(
        command("--port", "0", "--models", tmp_path, "--workers", "2"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # a worker has begun to start
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "Traceback" not in told


def test_a_supervisor_imports_nothing_heavy() -> None:
    program = "import json, sys, service.commands; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"numpy", "onnxruntime", "fastapi", "uvicorn", "prometheus_client", "PIL"}
