"""The dashboards are as build.py makes them, and ask for series that the service has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics import Metrics
from tests.deploy.dashboards import DASHBOARDS, ROOT, dashboards, panels, queries

# What Prometheus adds: a series, labels, and the label of a bucket.
OF_PROMETHEUS = {"job", "instance", "le"}


def series() -> dict[str, set[str]]:
    """Return every series that the service exposes, with the labels that it may carry."""
    found = {"up": OF_PROMETHEUS}
    for collector, names in Metrics().registry._collector_to_names.items():
        labels = set(getattr(collector, "_labelnames", ()))
        samples = [sample.name for family in collector.collect() for sample in family.samples]
        found |= {name: labels | OF_PROMETHEUS for name in [*names, *samples]}
    return found


def test_dashboards_are_as_build_makes_them(tmp_path: Path) -> None:
    build = ROOT / "deploy" / "grafana" / "build.py"
    subprocess.run([sys.executable, "-B", build, tmp_path], check=True)
    made = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text("utf-8") for path in DASHBOARDS.iterdir()}
    assert made == kept, "run: python deploy/grafana/build.py"


@pytest.mark.parametrize("name", queries())
def test_query_names_series_and_labels_that_exist(name: str) -> None:
    query, known = queries()[name], series()
    plain = re.sub(r'"[^"]*"', '""', query)
    named = set(re.findall(r"\b(?:ganymede|process|python)_\w+\b|\bup\b", plain))
    assert named, "asks for nothing of the service"
    assert named <= known.keys()
    for part in re.split(r"\bscalar\(", plain):  # a scalar has no labels, so that they may differ
        labels = set(re.findall(r"\b(\w+)\s*[=!]~?\s*\"", part))
        for group in re.findall(r"\bby \(([^)]*)\)", part):
            labels |= {label.strip() for label in group.split(",")}
        asked = {each for each in named if re.search(rf"\b{each}\b", part)}
        assert all(labels <= known[each] for each in asked), labels


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{i}", "expr": expr} for i, expr in enumerate(queries().values())]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_tells_how_to_read_it() -> None:
    assert [panel["title"] for panel in panels() if len(panel["description"]) < 6] == []


@pytest.mark.parametrize("name", queries())
def test_legend_uses_labels_that_the_query_keeps(name: str) -> None:
    query = queries()[name]
    if re.search(r"\b(sum|min|max) ", query):
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", query))))
        assert set(re.findall(r"{{(\w+)}}", name)) <= kept


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    """Tell whether two places on the page share a cell."""
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or above)


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: str(each["uid"]))
def test_layout_is_sound(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert not any(overlap(one, other) for one, other in combinations(places, 2))
    for panel in dashboard["panels"]:
        references = [target["refId"] for target in panel.get("targets", [])]
        assert len(references) == len(set(references))


def test_datasource_is_the_provisioned_one() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning" / "datasources"
    provisioned = yaml.safe_load((folder / "prometheus.yml").read_text("utf-8"))["datasources"]
    uids = {source["uid"] for source in provisioned}
    used = {panel["datasource"]["uid"] for panel in panels()}
    used |= {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    assert used <= uids
