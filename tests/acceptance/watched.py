"""A service and the Prometheus that watches it, as real processes, with windows of seconds."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.asking import eventually, free_port, numbers, query_path
from tests.deploy.exposition import ROOT
from tests.service.processes import running

DIVISOR = 120  # an hour is 30 s
HOLD_S = 6.0  # how long it is watched whether something else fires: the longest `for` is 7.5 s
CONFIGURATION = """
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: ganymede
    static_configs: [{{targets: ["{target}"]}}]
"""


@dataclass(frozen=True)
class Watched:
    """A service, and the Prometheus that scrapes it."""

    process: subprocess.Popen[str]
    service: httpx.Client
    prometheus: httpx.Client

    def generate(self, **body: Any) -> int:  # noqa: ANN401
        """Ask the service for pictures, and return the status; 0 is no answer at all."""
        try:
            return self.service.post("/generate", json=body).status_code
        except httpx.TransportError:
            return 0

    def ask(self, query: str) -> list[float]:
        """Return the values that Prometheus has for a query just now, numbers only."""
        return numbers(self.prometheus.get(query_path(query)).raise_for_status().content)

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        found = self.prometheus.get("/api/v1/alerts").raise_for_status().json()["data"]["alerts"]
        return {each["labels"]["alertname"] for each in found if each["state"] == "firing"}

    def fires(self, *names: str, hold_s: float = HOLD_S) -> None:
        """Wait until exactly these alerts fire, and see that no other does soon after."""

        def silent() -> list[str]:
            found = self.firing()
            assert found <= set(names), f"{found - set(names)} fires too"
            return sorted(set(names) - found)

        eventually(silent)
        until_s = time.monotonic() + hold_s
        while time.monotonic() < until_s:
            assert self.firing() <= set(names)
            time.sleep(0.5)

    @contextmanager
    def load(self, clients: int, pause_s: float = 0.0, **body: Any) -> Iterator[None]:  # noqa: ANN401
        """Clients that ask again and again; one that is refused pauses first."""
        over = threading.Event()

        def ask() -> None:
            while not over.is_set() and (status := self.generate(**body)):
                over.wait(max(pause_s, 0.1 if status == 429 else 0.0))

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


@contextmanager
def watched(folder: Path, models: Path, *objectives: str, **settings: str) -> Iterator[Watched]:
    """Start both; the arguments are of ``render.py``, the settings of the service."""
    given = {name.upper(): value for name, value in settings.items()}
    with (
        running(folder / "service.log", "--models", models, **given) as (process, url),
        prometheus(folder, url, objectives) as address,
        httpx.Client(base_url=url, timeout=60) as to_service,
        httpx.Client(base_url=address) as to_prometheus,
    ):
        stack = Watched(process, to_service, to_prometheus)
        eventually(lambda: [] if stack.ask('up{job="ganymede"}') == [1.0] else ["not scraped yet"])
        eventually(lambda: sorted(stack.firing()))  # until then, it was down
        yield stack


@contextmanager
def prometheus(folder: Path, url: str, objectives: tuple[str, ...]) -> Iterator[str]:
    """Prometheus with the rules rendered for impatient people, and its URL."""
    render = [sys.executable, "-B", str(ROOT / "deploy" / "prometheus" / "render.py")]
    options = ["--out", str(folder / "rules.yml"), "--divisor", str(DIVISOR), *objectives]
    subprocess.run([*render, *options], check=True)
    configuration = folder / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(target=url.removeprefix("http://")))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    log = folder / "prometheus.log"
    with log.open("w") as stream, subprocess.Popen(command, stderr=stream) as process:

        def absent() -> list[str]:
            assert process.poll() is None, log.read_text()
            try:
                ready = httpx.get(f"http://{address}/-/ready").status_code == 200
            except httpx.TransportError:
                ready = False
            return [] if ready else ["Prometheus is not ready"]

        try:
            eventually(absent)
            yield f"http://{address}"
        finally:
            process.terminate()
