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


def queries(window: str = "1m") -> dict[str, str]:
    """Return title/legend -> PromQL, with the window that Grafana would fill in."""
    return {
        f"{panel['title']} / {target['legendFormat']}": target["expr"].replace(
            "$__rate_interval", window
        )
        for panel in panels()
        for target in panel["targets"]
    }
