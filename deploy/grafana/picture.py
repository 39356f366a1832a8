"""Draws panels of the dashboard from a live Prometheus, where there is no Grafana.

``python deploy/grafana/picture.py --prometheus http://localhost:9090 --out dashboard.png``. The
queries, titles, units and thresholds are those of ``dashboards/ganymede.json``; the drawing is
matplotlib's, and the picture says so.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, MultipleLocator, PercentFormatter
from numpy.typing import NDArray

DASHBOARD = Path(__file__).parent / "dashboards" / "ganymede.json"
MAIN = (
    "Requests",
    "Time to answer",
    "Mean time by phase",
    "Refused",
    "Queue taken",
    "Batch sizes",
    "Device busy",
    "Replies sent again",
    "Event loop",
)
COLUMNS = 3
POINTS = 241  # of a line
NOTE = (
    "Drawn by deploy/grafana/picture.py from Prometheus, with the dashboard's queries; not Grafana"
)
UNITS: dict[str, Formatter] = {
    "s": EngFormatter("s"),
    "bytes": EngFormatter("B"),
    "reqps": EngFormatter("/s"),
    "percentunit": PercentFormatter(1.0),
    "short": EngFormatter(),
}

Line = NDArray[np.float64]  # [POINTS]


def panels(titles: tuple[str, ...]) -> list[dict[str, Any]]:
    """The panels of the dashboard with these titles, in this order.

    Raises:
        KeyError: the dashboard has no such panel over time.
    """
    made = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    drawn = {each["title"]: each for each in made if each["type"] in {"timeseries", "heatmap"}}
    return [drawn[title] for title in titles]


def filled_in(expr: str, window_s: float) -> str:
    """A query with what Grafana fills in: its window, and all of each variable."""
    expr = expr.replace("$__rate_interval", f"{math.ceil(window_s)}s")
    return re.sub(r"\$(model|version|instance)", ".*", expr)


def legend(template: str, labels: dict[str, str]) -> str:
    """A line's name, from the labels of its series."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template).strip() or "value"


class Prometheus:
    """A Prometheus and a stretch of its time.

    Args:
        url: of its interface.
        end_s: of the stretch, in seconds since the epoch.
        length_s: of the stretch.
        window_s: that rates are taken over; four scrapes, as Grafana takes it.
    """

    def __init__(self, url: str, end_s: float, length_s: float, window_s: float) -> None:
        self._url, self._end_s, self._window_s = url.rstrip("/"), end_s, window_s
        self.seconds: Line = np.linspace(0.0, length_s, POINTS)

    def lines(self, panel: dict[str, Any]) -> dict[str, Line]:
        """Legend -> the values at ``seconds``, of lines that have any; NaN where one has none."""
        found = {}
        length_s = float(self.seconds[-1])
        start_s, step_s = self._end_s - length_s, length_s / (POINTS - 1)
        for target in panel["targets"]:
            query = filled_in(target["expr"], self._window_s)
            asked = {"query": query, "start": start_s, "end": self._end_s, "step": step_s}
            with urlopen(f"{self._url}/api/v1/query_range?{urlencode(asked)}", timeout=30) as reply:
                results = json.load(reply)["data"]["result"]
            for result in results:
                line = np.full(POINTS, np.nan)
                for at_s, value in result["values"]:
                    line[round((float(at_s) - start_s) / step_s)] = float(value)
                if np.isfinite(line).any():
                    found[legend(target["legendFormat"], result["metric"])] = line
        return found


def draw(axes: Axes, panel: dict[str, Any], lines: dict[str, Line], seconds: Line) -> None:
    """One panel."""
    axes.set_title(panel["title"], loc="left", fontsize=9, fontweight="bold")
    axes.set_xlim(0, float(seconds[-1]))
    axes.xaxis.set_major_locator(MultipleLocator(60 * math.ceil(seconds[-1] / 300)))
    axes.xaxis.set_major_formatter(lambda at_s, _: f"{at_s / 60:g} min")
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    if not lines:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center")
    elif panel["type"] == "heatmap":
        draw_buckets(axes, lines, seconds)
    else:
        draw_lines(axes, panel["fieldConfig"]["defaults"], lines, seconds)


def draw_lines(axes: Axes, settings: dict[str, Any], lines: dict[str, Line], seconds: Line) -> None:
    """Each by itself, or stacked; and the threshold, where it is near."""
    if settings["custom"]["stacking"]["mode"] == "normal":
        heights = np.nan_to_num(list(lines.values()))
        axes.stackplot(seconds, heights, labels=list(lines), alpha=0.7)
        top = float(heights.sum(axis=0).max())
    else:
        for name, line in lines.items():
            axes.plot(seconds, line, label=name, linewidth=1.2)
        top = float(np.nanmax(list(lines.values())))
    for step in settings["thresholds"]["steps"]:
        if step["color"] == "red" and step["value"] is not None and step["value"] <= 1.5 * top:
            axes.axhline(step["value"], color="red", linewidth=0.8, linestyle="--")
    axes.set_ylim(bottom=settings.get("min"))
    axes.yaxis.set_major_formatter(UNITS[settings["unit"]])
    axes.grid(axis="y", linewidth=0.3)
    axes.legend(fontsize=6, loc="upper left", framealpha=0.6, edgecolor="none")


def draw_buckets(axes: Axes, lines: dict[str, Line], seconds: Line) -> None:
    """Cumulative buckets over time, as what each of them holds."""
    bounds = sorted(lines, key=float)
    counts = np.diff(np.nan_to_num([lines[bound] for bound in bounds]), axis=0, prepend=0.0)
    axes.pcolormesh(seconds, np.arange(len(bounds)), counts, cmap="Blues", shading="nearest")
    axes.set_yticks(range(len(bounds)), [f"{float(bound):g}" for bound in bounds])
    axes.set_ylabel("rows, up to", fontsize=7)


def picture(shown: list[dict[str, Any]], prometheus: Prometheus, until: datetime) -> Figure:
    """The panels beside and below each other."""
    rows = math.ceil(len(shown) / COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 2.3 * rows + 0.4), layout="constrained")
    for number, panel in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, COLUMNS, number)
        draw(axes, panel, prometheus.lines(panel), prometheus.seconds)
    figure.supxlabel(f"{NOTE}. Until {until:%Y-%m-%d %H:%M} UTC.", fontsize=8)
    return figure


def main(arguments: list[str] | None = None) -> None:
    """Draw what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prometheus", default="http://localhost:9090", metavar="URL")
    parser.add_argument("--out", type=Path, default=Path("dashboard.png"), metavar="FILE.png")
    parser.add_argument("--minutes", type=float, default=15, help="up to now")
    parser.add_argument("--scrape-s", type=float, default=5, help="between two scrapes")
    parser.add_argument("--panels", nargs="+", default=MAIN, metavar="TITLE")
    given = parser.parse_args(arguments)
    now = datetime.now(UTC)
    length_s, window_s = given.minutes * 60, 4 * given.scrape_s
    prometheus = Prometheus(given.prometheus, now.timestamp(), length_s, window_s)
    picture(panels(tuple(given.panels)), prometheus, now).savefig(given.out, dpi=80)


if __name__ == "__main__":
    main()
