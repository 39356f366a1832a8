"""A real TorchServe as a process, with archives that were packed here."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bench.environments import Environment
from bench.loads import Unavailable
from bench.processes import free_port, process
from tests.acceptance.asking import eventually

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy" / "torchserve"


def python() -> Path:
    """Return the interpreter of an environment with TorchServe, which may be made first."""
    if shutil.which("java") is None:
        pytest.skip("there is no java: apt-get install openjdk-17-jre-headless")
    if named := os.environ.get("GANYMEDE_TORCHSERVE_PYTHON"):
        return Path(named)
    names = ("requirements.txt", "requirements-text.txt")
    lines = [line for name in names for line in (FILES / name).read_text("utf-8").splitlines()]
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
    environment = dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION", "TEMP"), str(folder))
    environment["PYTHONPATH"] = ""  # of Ganymede it has what is in the archives
    with contextlib.ExitStack() as stack:
        roots = [f"http://127.0.0.1:{port}" for port in ports.values()]
        stack.enter_context(process(command, f"{roots[0]}/ping", environment))
        clients = [stack.enter_context(httpx.Client(base_url=root, timeout=60)) for root in roots]
        running = TorchServe(*clients)
        eventually(lambda: [name for name in models if set(running.workers(name)) != {"READY"}])
        yield running


def _settings(folder: Path, ports: dict[str, int]) -> str:
    """The settings that are shipped, but for their places and ports."""
    lines = (FILES / "config.properties").read_text("utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    settings |= {f"{name}_address": f"http://127.0.0.1:{port}" for name, port in ports.items()}
    settings |= {f"grpc_{name}_port": str(free_port()) for name in ("inference", "management")}
    settings |= {"model_store": str(folder / "store")}
    settings |= {"metrics_config": str(FILES / "metrics.yaml")}
    return "".join(f"{name}={value}\n" for name, value in settings.items())
