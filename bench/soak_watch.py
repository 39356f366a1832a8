"""What the soak sees of the service from outside: its memory, its metrics and its log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from bench.soak_clients import World
from bench.soak_ledger import OURS

MEMORY_EVERY_S, METRICS_EVERY_S = 1.0, 2.0

Labels = frozenset[tuple[str, str]]
Series = dict[tuple[str, Labels], float]


def resident_bytes(session: int, root: Path = Path("/proc")) -> tuple[int, int]:
    """How many processes a session has, and the memory that they take together."""
    processes = pages = 0
    for stat in root.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                pages += int((stat.parent / "statm").read_text().split()[1])
                processes += 1
    return processes, pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Memory:
    """Resident memory of all processes over time.

    Attributes:
        samples: seconds since the beginning, and bytes; only of when no process was missing.
    """

    session: int
    samples: list[tuple[float, int]] = field(default_factory=list)

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        begun_s = time.monotonic()
        whole, _ = resident_bytes(self.session)
        while True:
            processes, nbytes = resident_bytes(self.session)
            if processes == whole:
                self.samples.append((time.monotonic() - begun_s, nbytes))
            await asyncio.sleep(MEMORY_EVERY_S)

    def slope(self, after_s: float) -> Slope | None:
        """How it grew from some time on; None when too little is known."""
        late = [sample for sample in self.samples if sample[0] >= after_s]
        return regress(late) if len(late) > 2 else None


@dataclass(frozen=True)
class Slope:
    """A straight line through samples, by least squares.

    Attributes:
        bytes_per_s: how it rises.
        error: the standard error of that.
        mean_bytes: of the samples.
        seconds: between the first and the last of them.
    """

    bytes_per_s: float
    error: float
    mean_bytes: float
    seconds: float

    @property
    def surely_grown(self) -> float:
        """Growth over the samples less two standard errors, as a share of the mean."""
        return (self.bytes_per_s - 2 * self.error) * self.seconds / self.mean_bytes


def regress(samples: list[tuple[float, int]]) -> Slope:
    """The line through at least three samples of (seconds, bytes)."""
    seconds, nbytes = np.array(samples, np.float64).T
    centred = seconds - seconds.mean()
    spread = (centred**2).sum()
    rise = float((centred * nbytes).sum() / spread)
    rest = nbytes - nbytes.mean() - rise * centred
    error = math.sqrt(float((rest**2).sum()) / (len(samples) - 2) / spread)
    return Slope(rise, error, float(nbytes.mean()), float(seconds[-1] - seconds[0]))


@dataclass
class Counters:
    """The service's own counts, and whether any of them ever fell.

    Attributes:
        latest: every sample of the last look.
        fallen: counters that fell, and how.
        workers: the most that were seen.
    """

    latest: Series = field(default_factory=dict)
    fallen: list[str] = field(default_factory=list)
    looks: int = 0
    workers: float = 0.0

    async def watch(self, world: World) -> None:
        """Look again and again, until cancelled; what is lost with a worker is not seen."""
        async with world.client() as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await self.look(client)
                await asyncio.sleep(METRICS_EVERY_S)

    async def look(self, client: httpx.AsyncClient) -> None:
        """Read all, and compare with the last look."""
        now, rising = _parsed((await client.get("/metrics")).text)
        for key in rising & self.latest.keys():
            if now.get(key, 0.0) < self.latest[key]:
                self.fallen.append(f"{key[0]} {dict(key[1])}: {self.latest[key]} to {now[key]}")
        for key in self.latest.keys() - now.keys():
            if key[0].endswith(("_total", "_count")):
                self.fallen.append(f"{key[0]} {dict(key[1])}: gone")
        self.latest = now
        self.looks += 1
        self.workers = max(self.workers, self.total("ganymede_workers"))

    def settled(self, replaced: int) -> bool:
        """Whether nothing waits, and so many workers have taken the place of others, and serve."""
        restarts = self.total("ganymede_worker_restarts_total")
        serving = self.total("ganymede_workers") == self.workers and self.total("ganymede_ready")
        idle = self.total("ganymede_queue_rows") == 0
        return bool(serving) and restarts == replaced and idle

    def total(self, name: str, **labels: str) -> float:
        """The sum of a series over the labels that are not given."""
        wanted = set(labels.items())
        return sum(v for (key, told), v in self.latest.items() if key == name and wanted <= told)

    def requests(self, but_not: frozenset[str]) -> Counter[int]:
        """Requests by status, but for those of some routes."""
        found: Counter[int] = Counter()
        for (name, told), value in self.latest.items():
            labels = dict(told)
            if name == "ganymede_requests_total" and labels["route"] not in but_not:
                found[int(labels["status"])] += int(value)
        return found


def _parsed(text: str) -> tuple[Series, set[tuple[str, Labels]]]:
    """Every sample, and which of them must never fall."""
    now: Series = {}
    rising = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            now[key] = sample.value
            if family.type in ("counter", "histogram"):
                rising.add(key)
    return now, rising


@dataclass
class Log:
    """What a service logged.

    Attributes:
        lines: of each request of ours: the statuses and images that they tell.
        errors: messages of that level.
    """

    lines: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Log:
        """Read a whole log; what a killed worker had half written is passed over."""
        log = cls()
        with path.open(errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(json.JSONDecodeError):
                    log._note(json.loads(line))
        return log

    def _note(self, told: dict[str, Any]) -> None:
        if told["level"] in ("error", "critical"):
            self.errors.append(told["message"])
        name = str(told.get("request_id"))
        if told["message"] == "request" and name.startswith(OURS):
            self.lines.setdefault(name, []).append((told["status"], told.get("images", 0)))
