"""h2load, from the Debian package nghttp2-client: requests at a rate, over HTTP/1.1.

How it departs from an open loop: a connection holds one request at a time, and sends its next one
when that is answered, at once if it is overdue. Of CONNECTIONS or as many as requests a second,
whichever is less, each sends at most one request every ``connections / rate`` seconds and is on
time unless an answer took longer than that. With fewer than CONNECTIONS, therefore, only answers
later than a second, which are no good answers, hold anything up. A request's time begins when it
is sent. The connections are opened one after another over one such period, so that requests are
spread evenly; what is sent during that time, and during the warm-up, does not count.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.command import BenchError
from bench.loads import GOOD_S, WARM_S, Outcome

CONNECTIONS = 2048  # at most
STEP_S = 0.01  # between two groups of new connections
GRACE_S = 3  # for what is still unanswered at the end; then connections are closed
REFUSALS = (429, 503)


@dataclass(frozen=True)
class Pace:
    """A rate as h2load takes it."""

    rate: float  # requests per second
    seconds: float

    @property
    def connections(self) -> int:
        """How many share the rate."""
        return max(1, min(CONNECTIONS, math.ceil(self.rate)))

    @property
    def opening_s(self) -> float:
        """How long it takes to open them: one period of each."""
        return self.connections / self.rate

    @property
    def whole_s(self) -> float:
        """How long requests are sent: the opening, the warm-up and what counts."""
        return self.opening_s + WARM_S + self.seconds

    def options(self) -> list[str]:
        """For the command line."""
        at_once = max(1, round(self.connections * STEP_S / self.opening_s))
        each = max(1, math.ceil(self.whole_s * self.rate / self.connections))
        return [
            "--h1",
            "-t1",
            f"-c{self.connections}",
            f"--rps={self.rate / self.connections:.4f}",
            f"-n{each * self.connections}",
            f"-r{at_once}",
            f"--rate-period={round(STEP_S * 1000)}ms",
            f"-T{math.ceil(self.whole_s + GRACE_S)}",
        ]


def attack(url: str, rate: float, seconds: float) -> Outcome:
    """Ask ``url`` for single images at a rate.

    Raises:
        BenchError: h2load is not installed, or failed.
    """
    program = shutil.which("h2load")
    if program is None:
        raise BenchError("h2load is not installed: apt-get install nghttp2-client")
    pace = Pace(rate, seconds)
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body.json", Path(folder) / "log"
        body.write_text(json.dumps({"num_images": 1}))
        headers = ["-H", "content-type: application/json", "-H", "accept: application/json"]
        command = [program, *pace.options(), "-d", str(body), *headers, f"--log-file={log}", url]
        limit_s = 2 * pace.whole_s + GRACE_S + 30
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise BenchError(f"h2load did not end within {limit_s:.0f} s against {url}") from None
        text = log.read_text() if log.exists() else ""
    if answer.returncode or not text:
        raise BenchError(f"h2load failed against {url}: {(answer.stderr or answer.stdout)[-1000:]}")
    return parse(text, pace)


def parse(log: str, pace: Pace) -> Outcome:
    """What h2load logged: a line for each request, with its start, status and duration.

    Only what was sent in the ``seconds`` of the pace counts.
    """
    rows = np.array([line.split("\t")[:3] for line in log.splitlines()], np.int64).reshape(-1, 3)
    sent_s = (rows[:, 0] - rows[:, 0].min(initial=2**62)) / 1e6
    begin_s = pace.opening_s + WARM_S
    counted = rows[(sent_s >= begin_s) & (sent_s < begin_s + pace.seconds)]
    status, took_ms = counted[:, 1], counted[:, 2] / 1000
    answered = status == 200
    good = answered & (took_ms <= GOOD_S * 1000)
    refused = np.isin(status, REFUSALS)
    rate = float(good.sum()) / pace.seconds
    return Outcome(
        requests_per_s=rate,
        images_per_s=rate,
        p50_ms=_percentile(took_ms[answered], 50),
        p99_ms=_percentile(took_ms[answered], 99),
        refused_per_s=float(refused.sum()) / pace.seconds,
        refused_p99_ms=_percentile(took_ms[refused], 99),
        asked_per_s=pace.rate,
        late_per_s=float((answered & ~good).sum()) / pace.seconds,
        failed=int((~answered & ~refused).sum()),
    )


def _percentile(values: np.ndarray[tuple[int], np.dtype[np.float64]], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else 0.0
