"""Asking until an answer comes: what the checks of the running stack share."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests.deploy.dashboards import panels, with_windows

WITHIN_S = 120

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


def has_data(ask: Ask, panel: dict[str, Any]) -> bool:
    """Tell whether any query of a panel has a number to show."""
    return any(ask(with_windows(target["expr"])) for target in panel["targets"])


def empty_panels(ask: Ask) -> list[str]:
    """Return the titles of the panels that have nothing to show."""
    return [panel["title"] for panel in panels() if not has_data(ask, panel)]
