"""Makes the Grafana dashboards: ``python deploy/grafana/build.py`` writes them beside this file.

A dashboard is a list of rows, a row a title and its panels (``users.py``, ``machine.py``), a panel
(``panel.py``) some queries (``promql.py``). Every query names a series of ``service/metrics.py`` or
of ``deploy/prometheus/rules.yml``; the tests hold them together, and the written files to this one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from machine import BATCHES, DEVICE, PROCESS
from panel import DATASOURCE, PROVISIONED, page
from users import ANSWERS, OBJECTIVES

ROWS = {
    "Objectives and their error budgets": OBJECTIVES,
    "Requests, errors, duration": ANSWERS,
    "Batching": BATCHES,
    "Device and ONNX Runtime": DEVICE,
    "Process": PROCESS,
}


def choice(name: str, label: str, query: str) -> dict[str, Any]:
    """A variable: one or more values of a label, at first all."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


VARIABLES = [
    {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "Prometheus", "value": PROVISIONED},
    },
    choice("model", "Model", "label_values(ganymede_model_info, model)"),
    choice(
        "version",
        "Version, in What serves",
        'label_values(ganymede_model_info{model=~"$model"}, version)',
    ),
    choice("instance", "Instance", 'label_values(up{job="ganymede"}, instance)'),
]
ALERTS = {
    "name": "Alerts",
    "datasource": DATASOURCE,
    "enable": True,
    "expr": 'ALERTS{alertname=~"Ganymede.*",alertstate="firing"}',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{severity}} {{instance}} {{model}}",
    "iconColor": "red",
    "step": "15s",
}


def dashboard() -> dict[str, Any]:
    """The dashboard of one or more Ganymede services."""
    return {
        "uid": "ganymede",
        "title": "Ganymede",
        "tags": ["ganymede"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "10s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": VARIABLES},
        "annotations": {"list": [ALERTS]},
        "panels": page(ROWS),
    }


def main(folder: Path) -> None:
    """Write every dashboard into a folder."""
    folder.mkdir(exist_ok=True)
    text = json.dumps(dashboard(), indent=2) + "\n"
    (folder / "ganymede.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
