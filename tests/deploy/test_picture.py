"""The picture of the dashboard asks what the dashboard asks, and draws what Prometheus answers."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.deploy.dashboards import ROOT, panels

sys.path.insert(0, str(ROOT / "deploy" / "grafana"))
import picture

END_S = 1_000_000.0
LABELS = {"status": "200", "route": "/generate", "model": "tiny", "le": "4.0", "phase": "run"}


@pytest.fixture
def asked() -> list[dict[str, str]]:
    return []


@pytest.fixture
def prometheus(asked: list[dict[str, str]]) -> Iterator[str]:
    """Answers every query with one line, of which one value is not a number."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: value for name, [value] in parse_qs(urlsplit(self.path).query).items()}
            asked.append(query)
            start_s, step_s = float(query["start"]), float(query["step"])
            values: list[list[Any]] = [[start_s + k * step_s, str(k)] for k in range(100)]
            values[50][1] = "NaN"
            body = json.dumps({"data": {"result": [{"metric": LABELS, "values": values}]}}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_picture_asks_what_the_panels_ask(
    prometheus: str, asked: list[dict[str, str]], tmp_path: Path
) -> None:
    file = tmp_path / "dashboard.png"
    picture.main(["--prometheus", prometheus, "--out", str(file), "--minutes", "3"])
    shown = {panel["title"]: panel for panel in panels()}
    wanted = [
        target["expr"].replace("$__rate_interval", "20s")
        for title in picture.MAIN
        for target in shown[title]["targets"]
    ]
    assert [each["query"].count("[20s]") for each in asked] == [x.count("[20s]") for x in wanted]
    assert [each["query"].split("{")[0] for each in asked] == [x.split("{")[0] for x in wanted]
    assert not any("$" in each["query"] for each in asked)
    assert all(float(each["end"]) - float(each["start"]) == pytest.approx(180) for each in asked)
    with Image.open(file) as drawn:
        assert drawn.width > 800
        assert len(drawn.convert("RGB").getcolors(2**20) or []) > 50


def test_lines_have_the_panels_legends_and_gaps_where_there_is_no_number(prometheus: str) -> None:
    [panel] = picture.panels(("Images",))
    source = picture.Prometheus(prometheus, END_S, 240, 20)
    [(name, line)] = source.lines(panel).items()
    assert name == "tiny"
    assert (line[49], line[51]) == (49, 51)
    assert np.flatnonzero(np.isnan(line)).tolist() == [50, *range(100, picture.POINTS)]
    figure = picture.picture([panel], source, datetime(2026, 1, 2, tzinfo=UTC))
    [axes] = figure.axes
    assert axes.get_title(loc="left") == "Images"
    assert axes.get_legend_handles_labels()[1] == ["tiny"]
    assert figure.get_supxlabel() == f"{picture.NOTE}. Until 2026-01-02 00:00 UTC."


def test_buckets_are_told_apart() -> None:
    [panel] = picture.panels(("Batch sizes",))
    lines = {"4.0": np.full(2, 5.0), "1.0": np.array([2.0, np.nan]), "+Inf": np.full(2, 5.0)}
    axes = Figure().subplots()
    picture.draw(axes, panel, lines, np.array([0.0, 2.0]))
    [mesh] = axes.collections
    assert np.asarray(mesh.get_array()).tolist() == [[2, 0], [3, 5], [0, 0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "4", "inf"]


def test_a_panel_that_is_not_there_is_told() -> None:
    with pytest.raises(KeyError, match="Nothing"):
        picture.panels(("Nothing",))
