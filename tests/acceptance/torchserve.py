"""A real TorchServe as a process, with archives that were packed here."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bench.environments import Environment
from bench.loads import Unavailable
from tests.acceptance.asking import free_port

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy" / "torchserve"
START_S, STOP_S = 120, 30


def python() -> Path:
    """Return the interpreter of an environment with TorchServe, which may be made first."""
    if shutil.which("java") is None:
        pytest.skip("there is no java: apt-get install openjdk-17-jre-headless")
    if named := os.environ.get("GANYMEDE_TORCHSERVE_PYTHON"):
        return Path(named)
    lines = (FILES / "requirements.txt").read_text("utf-8").splitlines()
    needed = [line for line in lines if not line.startswith("#")]
    packages = ("torchserve==0.12.0", "pyyaml==6.0.3", "torch==2.13.0")
    try:
        return Environment("torchserve-handler", (*packages, *needed)).prepare() / "python"
    except Unavailable as error:
        pytest.skip(f"TorchServe cannot be installed: {error}")


@dataclass(frozen=True)
class TorchServe:
    """One that runs, by what it is asked through."""

    inference: httpx.Client
    management: httpx.Client
    metrics: httpx.Client

    def workers(self, model: str) -> list[str]:
        """Return the states of the workers of a model."""
        reply = self.management.get(f"/models/{model}/all")
        found = reply.json() if reply.status_code == 200 else []
        return [worker["status"] for each in found for worker in each["workers"]]


@contextlib.contextmanager
def torchserve(folder: Path, models: set[str]) -> Iterator[TorchServe]:
    """Start it with the archives in ``folder / "store"`` and our settings, on free ports."""
    ports = {name: free_port() for name in ("inference", "management", "metrics")}
    (folder / "config.properties").write_text(_settings(folder, ports))
    command = [str(python()), "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
    command += ["--disable-token-auth", "--ts-config", str(folder / "config.properties")]
    places = dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION", "TEMP", "TMPDIR"), str(folder))
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    log = folder / "log"
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command, cwd=folder, env=kept | places, stdout=stream, stderr=stream
        )
        stack.callback(_end, process)
        asked = [
            stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
            for port in ports.values()
        ]
        running = TorchServe(*asked)
        _wait(running, models, process, log)
        yield running


def _wait(
    running: TorchServe, models: set[str], process: subprocess.Popen[bytes], log: Path
) -> None:
    until_s = time.monotonic() + START_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            states = [running.workers(model) for model in models]
            if all(found and set(found) == {"READY"} for found in states):
                return
        if process.poll() is not None or time.monotonic() > until_s:
            pytest.fail(f"TorchServe does not serve:\n{log.read_text()[-6000:]}")
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    """In the foreground it is Java that runs here, or waits for it: SIGTERM ends both."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _settings(folder: Path, ports: dict[str, int]) -> str:
    """The settings that are shipped, but for their places and ports."""
    lines = (FILES / "config.properties").read_text("utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    settings |= {f"{name}_address": f"http://127.0.0.1:{port}" for name, port in ports.items()}
    settings |= {f"grpc_{name}_port": str(free_port()) for name in ("inference", "management")}
    settings |= {"model_store": str(folder / "store")}
    settings |= {"metrics_config": str(FILES / "metrics.yaml")}
    return "".join(f"{name}={value}\n" for name, value in settings.items())
