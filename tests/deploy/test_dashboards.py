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

from service.config import ServiceConfig
from tests.deploy.dashboards import DASHBOARDS, ROOT, dashboards, panels, queries, with_windows
from tests.deploy.exposition import faults

README = (ROOT / "README.md").read_text("utf-8")


def test_dashboards_are_as_build_makes_them(tmp_path: Path) -> None:
    build = ROOT / "deploy" / "grafana" / "build.py"
    subprocess.run([sys.executable, "-B", build, tmp_path], check=True)
    made = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text("utf-8") for path in DASHBOARDS.iterdir()}
    assert made == kept, "run: python deploy/grafana/build.py"


def test_every_query_has_a_name_of_its_own() -> None:
    assert len(queries()) == sum(len(panel["targets"]) for panel in panels())


@pytest.mark.parametrize("name", queries())
def test_query_names_series_and_labels_that_exist(name: str) -> None:
    assert faults(queries()[name]) == []


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


def variables(dashboard: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the variables of a dashboard by name."""
    return {each["name"]: each for each in dashboard["templating"]["list"]}


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: str(each["uid"]))
def test_datasource_is_the_provisioned_one(dashboard: dict[str, Any]) -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning" / "datasources"
    provisioned = yaml.safe_load((folder / "prometheus.yml").read_text("utf-8"))["datasources"]
    chosen = variables(dashboard)["datasource"]["current"]
    assert chosen in [{"text": each["name"], "value": each["uid"]} for each in provisioned]
    used = {panel["datasource"]["uid"] for panel in panels()}
    used |= {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    used |= {each["datasource"]["uid"] for each in dashboard["annotations"]["list"]}
    assert used == {"${datasource}"}


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: str(each["uid"]))
def test_variables_are_used_and_ask_for_labels_that_exist(dashboard: dict[str, Any]) -> None:
    known = variables(dashboard)
    assert list(known) == ["datasource", "model", "version", "instance"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"])))
    assert used - {"__rate_interval"} == known.keys()
    for name in ("model", "version", "instance"):
        query = with_windows(known[name]["query"]["query"])
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert match
        assert faults(f"count by ({match[2]}) ({match[1]})") == []


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: str(each["uid"]))
def test_alerts_are_marked_where_they_fired(dashboard: dict[str, Any]) -> None:
    [marks] = dashboard["annotations"]["list"]
    assert faults(marks["expr"]) == []
    assert "ALERTS" in marks["expr"]


def test_every_panel_has_a_unit() -> None:
    units = {panel["title"]: panel["fieldConfig"]["defaults"]["unit"] for panel in panels()}
    assert set(units.values()) == {"short", "s", "reqps", "percentunit", "bytes"}


def test_runbook_names_panels_and_settings_that_exist() -> None:
    runbook = (ROOT / "deploy" / "RUNBOOK.md").read_text("utf-8")
    text = re.sub(r"`[^`]*`", "", runbook)
    titles = {panel["title"] for panel in panels()}
    named = set(re.findall(r'"([A-Z][\w ]+)"', text)) - {"Ganymede"}
    assert named
    assert named <= titles
    settings = {f"GANYMEDE_{name.upper()}" for name in ServiceConfig.model_fields}
    assert set(re.findall(r"GANYMEDE_\w+", runbook)) <= settings


def test_readme_names_series_that_exist() -> None:
    named = re.findall(r"`((?:ganymede|process)_[a-z_]+(?:{[^`]*})?)`", README)
    assert len(named) > 15
    ours = [each for each in named if not each.startswith("ganymede_torchserve")]
    assert {each: faults(each) for each in ours if faults(each)} == {}


def test_picture_in_the_readme_is_there_and_small() -> None:
    [path] = re.findall(r"^!\[.*\]\((deploy/grafana/.*\.png)\)$", README, re.MULTILINE)
    assert 10_000 < (ROOT / path).stat().st_size < 200_000
