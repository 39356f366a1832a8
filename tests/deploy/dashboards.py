"""What the written dashboards ask Prometheus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"


def dashboards() -> list[dict[str, Any]]:
    """Return every dashboard that Grafana is given."""
    files = sorted(DASHBOARDS.glob("*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def panels() -> list[dict[str, Any]]:
    """Return the panels that ask something, of every dashboard."""
    return [panel for each in dashboards() for panel in each["panels"] if panel.get("targets")]


def with_windows(expr: str) -> str:
    """Return a query with what Grafana would fill in: its windows, and all of each variable."""
    for name, value in {
        "$__rate_interval": "1m",
        "$__range": "15m",
        "$model": ".*",
        "$version": ".*",
        "$instance": ".*",
    }.items():
        expr = expr.replace(name, value)
    return expr


def queries() -> dict[str, str]:
    """Return title/legend -> PromQL."""
    return {
        f"{panel['title']} / {target['legendFormat']}": with_windows(target["expr"])
        for panel in panels()
        for target in panel["targets"]
    }
