"""What is asked of a contender, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from export.manifest import FixedSize, Graph

LIMIT_ROWS = 16  # a CPU gains nothing from larger batches


@dataclass(frozen=True)
class Load:
    """A closed loop: each client sends its next request when the last one is answered."""

    clients: int
    images: int  # per request

    @property
    def name(self) -> str:
        """In a table."""
        return f"{self.clients} x {self.images}"

    def limit_processes(self, cores: int) -> int:
        """How many processes could work on this load at once."""
        return min(self.clients, cores)

    def limit_rows(self, cores: int) -> int:
        """The images that each of them could take at once: all that are asked for, shared."""
        waiting = self.clients * self.images
        return max(1, min(LIMIT_ROWS, waiting // self.limit_processes(cores)))


LOADS = (Load(1, 1), Load(8, 1), Load(64, 1), Load(8, 16))


@dataclass(frozen=True)
class Served:
    """A model in a folder of its own, as ``ganymede serve --models`` takes it."""

    name: str
    models: Path
    onnx: Path
    graph: Graph
    size: FixedSize


@dataclass(frozen=True)
class Outcome:
    """One run of one load. Latencies in milliseconds; an answer that is no 200 is an error."""

    requests_per_s: float
    images_per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    errors: int


Attack = Callable[[Load, float], Outcome]
"""Runs a load for so many seconds."""


class Contender(Protocol):
    """Something that turns requests into pictures."""

    @property
    def name(self) -> str:
        """In a table."""

    def open(self, model: Served) -> AbstractContextManager[Attack]:
        """Start it with this model, warm; stop it afterwards."""


def summary(model: str, load: Load, contender: str, rounds: Sequence[Outcome]) -> dict[str, Any]:
    """The medians over the rounds, and the rounds."""
    medians = {
        field: statistics.median(getattr(outcome, field) for outcome in rounds)
        for field in ("requests_per_s", "images_per_s", "p50_ms", "p99_ms")
    }
    return {
        "model": model,
        "load": asdict(load),
        "contender": contender,
        **medians,
        "errors": sum(outcome.errors for outcome in rounds),
        "rounds": [asdict(outcome) for outcome in rounds],
    }
