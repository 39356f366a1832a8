"""What is asked of a contender, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.command import BenchError
from export.manifest import FixedSize, Graph

GOOD_S = 1.0  # an answer that comes later is no good answer
WARM_S = 1  # of every load, before what is counted


class Unavailable(BenchError):
    """A contender cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class Closed:
    """Each client sends its next request when the last one is answered."""

    clients: int
    images: int = 1  # of a request
    again: bool = False  # the same seed in every request; else none, so that each is new work

    @property
    def name(self) -> str:
        """In a table, and for ``--loads``."""
        return f"{self.clients}x{self.images}" + ("-again" if self.again else "")


@dataclass(frozen=True)
class Paced:
    """Requests for one image at a share of the most that the contender answers, come what may."""

    share: float

    @property
    def name(self) -> str:
        """In a table, and for ``--loads``."""
        return f"{self.share:.0%}"


@dataclass(frozen=True)
class Batches:
    """No requests: processes that compute batches, as quickly as they can."""

    processes: int
    rows: int

    @property
    def name(self) -> str:
        """In a table, and for ``--loads``."""
        return f"{self.processes}-process-{self.rows}"


Load = Closed | Paced | Batches

ONE, EIGHT, MANY, CROWD = Closed(1), Closed(8), Closed(64), Closed(256)
LARGE = Closed(8, images=16)
HALF, OVER, FAR_OVER = Paced(0.5), Paced(1.5), Paced(3.0)
SERVER_LOADS: tuple[Load, ...] = (ONE, EIGHT, MANY, CROWD, LARGE, HALF, OVER, FAR_OVER)
AGAIN = (Closed(1, again=True), Closed(64, again=True))


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
    """One run of one load.

    Good answers are 200 (and, of a paced load, within GOOD_S); the rates and the latencies are
    theirs. Refusals are 429 and 503; ``failed`` is everything else.
    """

    requests_per_s: float
    images_per_s: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    refused_per_s: float = 0.0
    refused_p99_ms: float = 0.0
    asked_per_s: float = 0.0  # of a paced load
    late_per_s: float = 0.0  # 200, and later than GOOD_S
    failed: int = 0


Attack = Callable[[Load, float], Outcome]
"""Runs a load for so many seconds, after WARM_S that are not counted."""


class Contender(Protocol):
    """Something that turns requests into pictures."""

    @property
    def name(self) -> str:
        """In a table, and for ``--contenders``."""

    @property
    def loads(self) -> tuple[Load, ...]:
        """What it is put under, in this order: the heaviest last."""

    def open(self, model: Served) -> AbstractContextManager[Attack]:
        """Start it with this model, checked and warm; stop it afterwards.

        Raises:
            Unavailable: it cannot be had here.
            BenchError: it does not start, or its answers are wrong.
        """
