"""Servers as contenders: real processes on 127.0.0.1, asked over HTTP like anybody's."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import h2load, pictures, wrk
from bench.command import BenchError
from bench.loads import (
    AGAIN,
    LARGE,
    MANY,
    ONE,
    SERVER_LOADS,
    WARM_S,
    Attack,
    Closed,
    Load,
    Outcome,
    Paced,
    Served,
)
from bench.processes import free_port, post, process, workers


@dataclass
class OverHttp:
    """Puts loads on a URL; paced ones are shares of the most that it answered before."""

    url: str
    capacity_per_s: float = 0.0

    def __call__(self, load: Load, seconds: float) -> Outcome:
        """Run one load, when what an earlier one left behind has been worked off."""
        post(self.url, 1)
        if isinstance(load, Paced):
            if not self.capacity_per_s:
                self(MANY, seconds)
            return h2load.attack(self.url, load.share * self.capacity_per_s, seconds)
        assert isinstance(load, Closed)
        wrk.attack(self.url, load, WARM_S)
        outcome = wrk.attack(self.url, load, seconds)
        if load.images == 1 and not load.again:
            self.capacity_per_s = max(self.capacity_per_s, outcome.requests_per_s)
        return outcome


@dataclass(frozen=True)
class Ganymede:
    """``ganymede serve`` with its default settings."""

    name: str = "ganymede"
    loads: tuple[Load, ...] = (*AGAIN, *SERVER_LOADS)
    sizes: dict[str, float] = field(default_factory=dict)
    """By model: the largest of its PNG files beside Pillow's, as a ratio."""

    @contextlib.contextmanager
    def open(self, model: Served) -> Iterator[Attack]:
        """One service with one model."""
        with serving(model) as (url, _):
            ratio = pictures.check(post(url, pictures.CHECKED, pictures.SEED), model)
            self.sizes[model.name] = max(ratio, self.sizes.get(model.name, 0.0))
            yield OverHttp(url)


REFUSE = {
    "GANYMEDE_QUEUE_IMAGES": "1",
    "GANYMEDE_MAX_IMAGES": "1",
    "GANYMEDE_MAX_BATCH_ROWS": "16",
    "GANYMEDE_MAX_WAIT_S": "10",
}
"""One picture waits for company and fills the queue: all others are refused."""


@dataclass(frozen=True)
class Refusing:
    """A Ganymede whose queue is full: how many refusals a second it, and the client, can make."""

    name: str = "ganymede-refusing"
    loads: tuple[Load, ...] = (MANY,)

    @contextlib.contextmanager
    def open(self, model: Served) -> Iterator[Attack]:
        """One service with one model."""
        with serving(model, REFUSE) as (url, _):

            def attack(load: Load, seconds: float) -> Outcome:
                assert isinstance(load, Closed)
                wrk.attack(url, load, WARM_S)
                outcome = wrk.attack(url, load, seconds)
                if outcome.refused_per_s < 10 * outcome.requests_per_s:
                    raise BenchError(f"{model.name} answered where it had to refuse")
                return outcome

            yield attack


@contextlib.contextmanager
def serving(
    model: Served, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """The URL of ``POST /generate`` of a Ganymede that serves one model, and its process."""
    root = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "ganymede", "serve"]
    command += ["--models", str(model.models), "--port", str(port)]
    with process(command, f"{root}/health/ready", environment) as pid:
        yield f"{root}/generate", pid


@dataclass
class Constant:
    """FastAPI and uvicorn with a body that is ready, in as many workers as Ganymede takes.

    See ``constant.py``.
    """

    name: str = "constant"
    loads: tuple[Load, ...] = (ONE, MANY)
    workers: int = 1
    _bodies: dict[str, dict[int, bytes]] = field(default_factory=dict)

    @contextlib.contextmanager
    def open(self, model: Served) -> Iterator[Attack]:
        """Bodies are asked of a Ganymede first, once per model."""
        if model.name not in self._bodies:
            with serving(model) as (url, pid):
                found = {images: post(url, images) for images in (1, LARGE.images)}
                self._bodies[model.name] = found
                self.workers = workers(pid)
        port = free_port()
        command = [sys.executable, "-m", "bench.constant", str(port), str(self.workers)]
        with tempfile.TemporaryDirectory() as folder:
            for images, body in self._bodies[model.name].items():
                (Path(folder) / f"{images}.json").write_bytes(body)
            root = f"http://127.0.0.1:{port}"
            with process(command, f"{root}/health", {"BENCH_BODIES": folder}):
                yield OverHttp(f"{root}/generate")
