"""Panels as Grafana wants them: the JSON around a title, a text and some queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

PROVISIONED = "prometheus"  # in provisioning/datasources
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
HEIGHT = 8


@dataclass(frozen=True)
class Panel:
    """One picture of the dashboard.

    Args:
        title: what is shown, with what one point is.
        says: how to read it and what to turn; shown when one hovers over the title.
        queries: legend -> PromQL.
        unit: Grafana's name of the unit.
        kind: lines over time, their newest value, or a histogram over time.
        width: in 24ths of the page.
        stacked: whether the lines add up to something.
        red_from: a value from which the panel turns red.
        green_from: a value below which the panel is red.
        lowest: of the axis.
    """

    title: str
    says: str
    queries: dict[str, str]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "heatmap"] = "timeseries"
    width: int = 8
    stacked: bool = False
    red_from: float | None = None
    green_from: float | None = None
    lowest: float | None = 0


def target(index: int, legend: str, expr: str, kind: str) -> dict[str, Any]:
    """One query of a panel."""
    made = {"datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
    shape = {"format": "heatmap" if kind == "heatmap" else "time_series", "instant": kind == "stat"}
    return made | shape | {"range": kind != "stat", "refId": chr(ord("A") + index)}


def defaults(panel: Panel) -> dict[str, Any]:
    """How the values of a panel are drawn."""
    first = "green" if panel.green_from is None else "red"
    steps: list[dict[str, Any]] = [{"color": first, "value": None}]
    if panel.green_from is not None:
        steps.append({"color": "green", "value": panel.green_from})
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    made: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.lowest is not None:
        made["min"] = panel.lowest
    if panel.kind == "timeseries":
        made["custom"] = {
            "fillOpacity": 25 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.red_from is not None else "off"},
        }
    return made


OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "textMode": "auto"},
    "heatmap": {"calculate": False, "yAxis": {"axisLabel": "rows, up to"}},
}


def place(panels: Sequence[Panel], top: int) -> list[dict[str, int]]:
    """Where the panels of a row stand: from left to right, and on when the line is full."""
    places, left = [], 0
    for panel in panels:
        if left + panel.width > COLUMNS:
            left, top = 0, top + HEIGHT
        places.append({"x": left, "y": top, "w": panel.width, "h": HEIGHT})
        left += panel.width
    return places


def page(rows: Mapping[str, Sequence[Panel]]) -> list[dict[str, Any]]:
    """Every panel of the dashboard, with the titles of the rows between them."""
    made: list[dict[str, Any]] = []
    top = 0
    for title, row in rows.items():
        made.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            }
        )
        for panel, position in zip(row, place(row, top + 1), strict=True):
            queries = enumerate(panel.queries.items())
            made.append(
                {
                    "type": panel.kind,
                    "title": panel.title,
                    "description": panel.says,
                    "datasource": DATASOURCE,
                    "targets": [target(i, name, expr, panel.kind) for i, (name, expr) in queries],
                    "fieldConfig": {"defaults": defaults(panel), "overrides": []},
                    "options": OPTIONS[panel.kind],
                    "gridPos": position,
                }
            )
            top = position["y"] + position["h"]
    return [{"id": number, **panel} for number, panel in enumerate(made, start=1)]
