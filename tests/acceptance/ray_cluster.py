"""A real Ray on this machine with the service on it, and a load that notes every answer."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.acceptance.asking import eventually

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD, SERVICE = "http://127.0.0.1:8265", "http://127.0.0.1:8000"  # Ray's own, and serve.yaml's
START = ["start", "--head", "--num-cpus", "2", "--dashboard-host", "127.0.0.1"]
START += ["--object-store-memory", "100000000", "--disable-usage-stats"]
COMMAND_S = 200
TITLE = b"ray::ServeReplica:ganymede:"


@dataclass(frozen=True)
class Cluster:
    """A head with its one node, and what ``serve.yaml`` deployed there."""

    programs: Path
    environment: Mapping[str, str]
    folder: Path
    models: Path
    client: httpx.Client

    def deploy(self, replicas: int, most: int | None = None) -> None:
        """Deploy ``serve.yaml`` with so many replicas, which share this small machine.

        Up to ``most``, where that is given, as the load asks for: within seconds, not minutes.
        """
        config = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text("utf-8"))
        [application] = config["applications"]
        application["runtime_env"]["env_vars"]["GANYMEDE_MODELS"] = str(self.models)
        [deployment] = application["deployments"]
        deployment["ray_actor_options"]["num_cpus"] = 0.5
        numbers = {"min_replicas": replicas, "max_replicas": most or replicas}
        quickly = {"upscale_delay_s": 1, "downscale_delay_s": 1, "look_back_period_s": 2}
        deployment["autoscaling_config"] |= numbers | quickly | {"metrics_interval_s": 1}
        file = self.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config))
        self.run("serve", "deploy", str(file), "-a", DASHBOARD)

    def run(self, program: str, *arguments: str) -> None:
        """Run a command of Ray to its end."""
        log = self.folder / f"{program}.log"
        with log.open("w") as stream:  # not a pipe, which what it starts would keep open
            done = subprocess.run(
                [self.programs / program, *arguments],
                env=self.environment,
                stdout=stream,
                stderr=stream,
                timeout=COMMAND_S,
                check=False,
            )
        assert done.returncode == 0, log.read_text()

    def wrong(self, replicas: int) -> list[str]:
        """Return what is missing until exactly so many replicas run, and nothing else goes on."""
        told = httpx.get(f"{DASHBOARD}/api/serve/applications/", timeout=60).json()
        found = told["applications"].get("ganymede")
        if not found or not found["deployments"]:
            return [f"not deployed yet: {found}"]
        states = [each["state"] for each in found["deployments"]["Replica"]["replicas"]]
        right = found["status"] == "RUNNING" and states == ["RUNNING"] * replicas
        return [] if right else [f"{found['status']} {found['message']} {states}"]

    def settled(self, replicas: int) -> set[int]:
        """Wait for so many replicas; return their processes."""
        eventually(lambda: self.wrong(replicas))
        eventually(lambda: [] if len(processes()) == replicas else [f"{processes()}"])
        return processes()

    def replaced(self, killed: int) -> set[int]:
        """Wait for another replica beside the one that is left; return their processes."""
        eventually(lambda: [] if killed not in processes() else [f"{killed} still runs"])
        eventually(lambda: [] if len(processes()) == 2 else [f"{processes()}"])
        return self.settled(2)

    def counted(self, replicas: int) -> dict[str, dict[str, float]]:
        """Return the series of each replica, by when its process started: asks until each told."""
        found: dict[str, dict[str, float]] = {}

        def silent() -> list[str]:
            told = series(self.client.get("/metrics").text)
            found[str(told["process_start_time_seconds"])] = told
            return [] if len(found) == replicas else [f"{len(found)} replicas told"]

        eventually(silent)
        return found


def series(exposition: str) -> dict[str, float]:
    """Return the values of an exposition by their series."""
    lines = (line.rpartition(" ") for line in exposition.splitlines() if line[:1] != "#")
    return {name: float(value) for name, _, value in lines}


def processes() -> set[int]:
    """Return the processes of the replicas, by the title that Ray gives them."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if file.read_bytes().startswith(TITLE):
                found.add(int(file.parent.name))
    return found


@contextlib.contextmanager
def cluster(programs: Path, models: Path) -> Iterator[Cluster]:
    """Start Ray; it ends with the namespace that this runs in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GANYMEDE_")}
    kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
    environment = kept | {
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "deploy" / "ray"))),
        "RAY_AUTH_MODE": "disabled",
    }
    # Sockets lie below it, whose paths must be short.
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        httpx.Client(base_url=SERVICE, timeout=60) as client,
    ):
        running = Cluster(programs, environment, Path(folder), models, client)
        running.run("ray", *START, "--temp-dir", folder)
        yield running


@dataclass
class Load:
    """Clients that each ask for new seeds until told to stop; every answer is kept."""

    answers: list[tuple[int, int, Any]] = field(default_factory=list)
    """Seed, status (0 is no answer at all), and images."""
    over: threading.Event = field(default_factory=threading.Event)
    _seeds: Iterator[int] = field(default_factory=lambda: count(1000))

    @contextlib.contextmanager
    def running(self, clients: int) -> Iterator[None]:
        """Ask meanwhile."""
        threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def answered(self, more: int) -> None:
        """Wait for so many more answers."""
        enough = len(self.answers) + more
        eventually(lambda: [] if len(self.answers) >= enough else [f"{len(self.answers)} answers"])

    def _ask(self) -> None:
        with httpx.Client(base_url=SERVICE, timeout=60) as client:
            while not self.over.is_set():
                self.answers.append(ask(client, next(self._seeds)))


def ask(client: httpx.Client, seed: int) -> tuple[int, int, Any]:
    """Ask for one picture; return the seed, the status and the images."""
    try:
        reply = client.post("/generate", json={"seed": seed, "format": "png"})
    except httpx.TransportError:
        return seed, 0, None
    return seed, reply.status_code, reply.json()["images"] if reply.status_code == 200 else None
