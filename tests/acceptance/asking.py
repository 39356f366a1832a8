"""Asking until an answer comes: what the checks of the running stack share."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable
from urllib.parse import quote

from tests.deploy.dashboards import queries

WITHIN_S = 180  # the slowest rules are evaluated every two minutes

Ask = Callable[[str], list[float]]


def eventually(wrong: Callable[[], list[str]]) -> None:
    """Ask what is wrong until nothing is."""
    until_s = time.monotonic() + WITHIN_S
    while found := wrong():
        assert time.monotonic() < until_s, f"after {WITHIN_S} s still: {found}"
        time.sleep(0.5)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def query_path(query: str) -> str:
    """Return where Prometheus answers a query."""
    return f"/api/v1/query?query={quote(query)}"


def numbers(content: bytes) -> list[float]:
    """Return the values of Prometheus's answer that are numbers."""
    results = json.loads(content)["data"]["result"]
    values = [float(series["value"][1]) for series in results]
    return [value for value in values if not math.isnan(value)]


def empty_queries(ask: Ask) -> list[str]:
    """Return the names of the dashboard's queries that have no number to show."""
    return [name for name, query in queries().items() if not ask(query)]
