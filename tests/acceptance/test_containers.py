"""The containers for real: the image built, the stack brought up, pictures made, dashboards fed.

``GANYMEDE_CONTAINER_TOOL`` names the engine: ``docker`` (the default where it is installed), or a
program that takes ``build`` and ``compose`` as docker does, and ``exec COMMAND`` to run a command
where the published ports can be reached. Grafana is left out: its dashboards' queries are asked of
the Prometheus that scraped the service.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.asking import empty_queries, eventually, free_port, numbers, query_path
from tests.deploy.dashboards import ROOT
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.acceptance

FETCH = """
import sys, urllib.error, urllib.request
url, body = sys.argv[1:]
request = urllib.request.Request(url, body.encode() or None, {"Content-Type": "application/json"})
try:
    reply = urllib.request.urlopen(request, timeout=30)
except urllib.error.HTTPError as refusal:
    reply = refusal
sys.stdout.buffer.write(f"{reply.status}\\n".encode() + reply.read())
"""


@dataclass(frozen=True)
class Stack:
    """A running service and Prometheus, in a folder of their own."""

    tool: str
    folder: Path
    service_port: int
    prometheus_port: int

    def compose(self, *arguments: str) -> str:
        """Run a compose command on the stack, and return what it printed."""
        ports = {
            "GANYMEDE_PORT": str(self.service_port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
        }
        file = str(self.folder / "docker-compose.yml")
        command = [self.tool, "compose", "-p", "ganymede-acceptance", "-f", file, *arguments]
        return run(command, self.folder, ports)

    def fetch(self, port: int, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        """Ask from where the ports are published; status 0 is no answer at all."""
        enter = [] if Path(self.tool).name == "docker" else [self.tool, "exec"]
        url = f"http://127.0.0.1:{port}{path}"
        sent = json.dumps(body) if body is not None else ""
        command = [*enter, sys.executable, "-c", FETCH, url, sent]
        done = subprocess.run(command, capture_output=True, check=False)
        status, _, content = done.stdout.partition(b"\n")
        return int(status or 0), content

    def not_ready(self) -> list[str]:
        """Return why the service does not accept requests yet."""
        status, content = self.fetch(self.service_port, "/health/ready")
        return [] if status == 200 else [f"{status} {content!r}"]

    def generate(self, **body: Any) -> tuple[int, bytes]:  # noqa: ANN401
        """Ask the service for pictures."""
        return self.fetch(self.service_port, "/generate", body)

    def ask(self, query: str) -> list[float]:
        """Return the values that Prometheus has for a query just now, numbers only."""
        status, content = self.fetch(self.prometheus_port, query_path(query))
        return numbers(content) if status == 200 else []


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command; what it said is in the failure."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def docker() -> str | None:
    """Return docker, where it is installed and its engine answers."""
    found = shutil.which("docker")
    answered = found and subprocess.run([found, "info"], capture_output=True, check=False)
    return found if answered and answered.returncode == 0 else None


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Build the image from the checkout, and bring it up beside Prometheus with a model mounted."""
    tool = os.environ.get("GANYMEDE_CONTAINER_TOOL") or docker()
    if tool is None:
        pytest.skip("no container engine: start docker, or set GANYMEDE_CONTAINER_TOOL")
    folder = tmp_path_factory.mktemp("stack")
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    tiny_bundle(folder / "models", name="tiny")
    image = re.findall(r"image: (ganymede/service:\S+)", (ROOT / "docker-compose.yml").read_text())
    run([tool, "build", "-f", "deploy/service.Dockerfile", "-t", image[0], "."], ROOT)
    made = Stack(tool, folder, free_port(), free_port())
    try:
        made.compose("up", "-d", "--no-build", "service", "prometheus")
        eventually(made.not_ready)
        yield made
    finally:
        print(made.compose("logs", "service")[-3000:])
        made.compose("down", "-v")


def test_service_answers_with_the_starter(stack: Stack) -> None:
    status, content = stack.generate(seed=7, num_images=2)
    assert status == 200, content
    assert [image["seed"] for image in json.loads(content)["images"]] == [7, 8]


def test_mounted_models_are_offered(stack: Stack) -> None:
    status, content = stack.generate(model="tiny", seed=1)
    assert status == 200, content


def test_container_has_no_more_than_it_needs(stack: Stack) -> None:
    program = """
import importlib.util, os, pathlib, tempfile
assert os.getuid() == 10001, os.getuid()
assert importlib.util.find_spec("torch") is None
for folder in ("/", "/models", "/starter", "/opt/ganymede"):
    try:
        pathlib.Path(folder, "written").touch()
    except OSError:
        continue
    raise AssertionError(folder + " can be written to")
tempfile.TemporaryFile().close()
capabilities = pathlib.Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0]
assert int(capabilities, 16) == 0, capabilities
"""
    stack.compose("exec", "-T", "service", "python", "-c", program)


def test_health_check_of_the_image_passes(stack: Stack) -> None:
    text = (ROOT / "deploy" / "service.Dockerfile").read_text().replace("\\\n", "")
    (command,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", text, re.MULTILINE)
    stack.compose("exec", "-T", "service", *json.loads(command))


def test_prometheus_scrapes_the_service(stack: Stack) -> None:
    eventually(lambda: [] if stack.ask('up{job="ganymede"}') == [1.0] else ["up is not 1"])


def test_every_query_of_the_dashboard_has_data(stack: Stack) -> None:
    def empty() -> list[str]:
        for model in ("fashion", "tiny"):
            stack.generate(model=model, num_images=3)
        assert stack.generate(model="nobody")[0] == 404
        return empty_queries(stack.ask)

    eventually(empty)


def test_what_admin_changed_outlives_the_container(stack: Stack) -> None:
    def tiny_answers(status: int) -> list[str]:
        answered, content = stack.generate(model="tiny", seed=1)
        return [] if answered == status else [f"{answered} {content!r}"]

    admin = ("exec", "-T", "service", "ganymede", "admin")
    stack.compose(*admin, "unload", "tiny", "1")
    stack.compose("down")  # without -v: what an upgrade does
    stack.compose("up", "-d", "--no-build", "service", "prometheus")
    eventually(stack.not_ready)
    assert tiny_answers(404) == []
    stack.compose(*admin, "load", "tiny", "1")
    assert tiny_answers(200) == []
