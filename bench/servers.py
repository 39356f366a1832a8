"""Servers as contenders: real processes on 127.0.0.1, asked over HTTP like anybody's."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from bench import wrk
from bench.command import BenchError
from bench.loads import LOADS, Attack, Load, Outcome, Served

START_S, STOP_S, WARM_S = 120, 30, 1


@contextlib.contextmanager
def process(
    command: Sequence[str], ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a server until the block ends; it begins when ``ready``, a URL, answers 200.

    What the server logs goes to a file, as it would in earnest.

    Raises:
        BenchError: it ended, or was not ready in time; with the end of its log.
    """
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C is for the measurement, which stops it
        )
        try:
            until = time.monotonic() + START_S
            while not _answers(ready):
                if running.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    tail = log.read()[-2000:].decode(errors="replace")
                    raise BenchError(f"`{' '.join(command)}` does not serve:\n{tail}")
                time.sleep(0.05)
            yield
        finally:
            running.terminate()
            try:
                running.wait(STOP_S)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(url: str, images: int) -> bytes:
    """The body of one answer."""
    body = json.dumps({"num_images": images}).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
        return bytes(answer.read())


def check(body: bytes, load: Load, model: Served) -> None:
    """What is measured must be pictures: as many as were asked for, of the right size.

    Raises:
        BenchError: they are not.
    """
    found = json.loads(body)["images"]
    for image in found:
        size = Image.open(io.BytesIO(base64.b64decode(image["data"]))).size
        if size != (model.size.width, model.size.height):
            raise BenchError(f"{model.name} answered with a picture of {size}")
    if len(found) != load.images:
        raise BenchError(f"{model.name} answered {len(found)} pictures, not {load.images}")


def over_http(url: str) -> Attack:
    """Wrk against a URL, after a second that is not counted."""

    def attack(load: Load, seconds: float) -> Outcome:
        wrk.attack(url, load, WARM_S)
        return wrk.attack(url, load, seconds)

    return attack


@dataclass(frozen=True)
class Ganymede:
    """``ganymede serve`` as it comes, but for what ``environment`` sets."""

    name: str = "Ganymede"
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def open(self, model: Served) -> Iterator[Attack]:
        """One service with one model."""
        with serving(model, self.environment) as url:
            for load in LOADS:
                check(post(url, load.images), load, model)
            yield over_http(url)


@contextlib.contextmanager
def serving(model: Served, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL of ``POST /generate`` of a Ganymede that serves one model."""
    root = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "ganymede", "serve"]
    command += ["--models", str(model.models), "--port", str(port)]
    with process(command, f"{root}/health/ready", environment):
        yield f"{root}/generate"


@dataclass
class Constant:
    """FastAPI and uvicorn with a body that is ready; see ``constant.py``."""

    name: str = "FastAPI, constant body"
    _bodies: dict[str, dict[int, bytes]] = field(default_factory=dict)

    @contextlib.contextmanager
    def open(self, model: Served) -> Iterator[Attack]:
        """Bodies are asked of a Ganymede first, once per model."""
        if model.name not in self._bodies:
            with serving(model) as url:
                self._bodies[model.name] = {load.images: post(url, load.images) for load in LOADS}
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "bench.constant:app", "--port", str(port)]
        command += ["--no-access-log", "--log-level", "warning"]
        with tempfile.TemporaryDirectory() as folder:
            for images, body in self._bodies[model.name].items():
                (Path(folder) / f"{images}.json").write_bytes(body)
            root = f"http://127.0.0.1:{port}"
            with process(command, f"{root}/health", {"BENCH_BODIES": folder}):
                yield over_http(f"{root}/generate")
