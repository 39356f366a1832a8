"""The rules are as render.py makes them, name what exists, and fire as they should."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from export.bundle import MANIFEST
from service.folders import Folder, scan
from tests.deploy.exposition import ROOT, RULES, alerts, faults, recordings

FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text("utf-8")
with_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)


def render(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run render.py as a person does who has installed nothing."""
    command = [sys.executable, "-BIS", FOLDER / "render.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def promtool(*arguments: str | Path) -> None:
    command = ["promtool", *arguments]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_as_the_template_makes_them(tmp_path: Path) -> None:
    done = render("--out", tmp_path / "rules.yml")
    assert done.returncode == 0, done.stderr
    made = (tmp_path / "rules.yml").read_text("utf-8")
    assert made == RULES.read_text("utf-8"), "run: python deploy/prometheus/render.py"


def test_divisor_shortens_every_window_and_no_name(tmp_path: Path) -> None:
    render("--out", tmp_path / "rules.yml", "--divisor", "120")
    made, real = (tmp_path / "rules.yml").read_text("utf-8"), RULES.read_text("utf-8")
    duration = re.compile(r"(?<=[\[ ])\d+(?:ms|[smhd])\b(?=[\]) \n])")
    milliseconds = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    expected = [
        f"{int(each[:-1]) * milliseconds[each[-1]] // 120}ms" for each in duration.findall(real)
    ]
    assert duration.findall(made) == expected
    assert {"2500ms", "2160000ms"} <= set(expected)
    names = re.compile(r"record: (\S+)|alert: (\S+)")
    assert names.findall(made) == names.findall(real)


def test_objectives_are_arguments(tmp_path: Path) -> None:
    options = ("--availability", "0.99", "--latency", "0.9", "--latency-s", "2.048")
    render("--out", tmp_path / "rules.yml", *options, "--runbook", "https://example.org/runbook")
    made = (tmp_path / "rules.yml").read_text("utf-8")
    assert "99 % of the requests" in made
    assert "> 14.4 * 0.01\n" in made
    assert "> 14.4 * 0.1\n" in made
    assert 'le="2.048"' in made
    assert "runbook_url: https://example.org/runbook#ganymededown" in made
    assert not re.search(r"<\w+>", made)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--latency-s", "0.5", "0.512"), ("--availability", "99.9", "between 0 and 1")],
)
def test_objective_that_cannot_be_one_is_refused(
    tmp_path: Path, option: str, value: str, said: str
) -> None:
    done = render("--out", tmp_path / "rules.yml", option, value)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "rules.yml").exists()


@pytest.mark.parametrize(
    "rule", [*recordings(), *alerts()], ids=lambda rule: str(rule.get("record") or rule["alert"])
)
def test_rules_name_series_and_labels_that_exist(rule: dict[str, str]) -> None:
    if not rule["expr"].startswith("vector("):
        assert faults(rule["expr"]) == []


def test_recorded_names_are_level_metric_operations() -> None:
    names = [rule["record"] for rule in recordings()]
    assert [name for name in names if not re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", name)] == []


def test_every_alert_tells_whom_it_calls_and_where_to_read_on() -> None:
    headings = {heading.lower() for heading in re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)}
    for alert in alerts():
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert {"summary", "description", "runbook_url"} == alert["annotations"].keys()
        file, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert (ROOT / file).is_file()
        assert anchor in headings
    assert headings == {alert["alert"].lower() for alert in alerts()}


def test_every_entry_of_the_runbook_has_its_four_parts() -> None:
    entries = RUNBOOK.split("\n## ")[1:]
    for entry in entries:
        assert re.findall(r"^\*\*(\w+)\.\*\*", entry, re.MULTILINE) == [
            "Seen", "Means", "Look", "Turn",
        ]  # fmt: skip


def test_runbook_finds_in_the_log_what_does_not_serve(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("first", "second"):
        (tmp_path / name / "fashion" / "1").mkdir(parents=True)
        (tmp_path / name / "fashion" / "1" / MANIFEST).touch()
    places = [Folder(tmp_path / name) for name in ("first", "second", "file", "missing")]
    _, failures = scan(places)
    [pattern] = re.findall(r"grep -E '([^']+)'", RUNBOOK)
    assert len(failures) == 3
    assert [str(each) for each in failures if not re.search(pattern, str(each))] == []


def test_every_alert_is_made_to_fire_by_a_test() -> None:
    fired: set[tuple[str, str]] = set()
    for file in FOLDER.glob("*_test.yml"):
        for test in yaml.safe_load(file.read_text("utf-8"))["tests"]:
            for check in test["promql_expr_test"]:
                for sample in check["exp_samples"]:
                    found = re.findall(r'alertname="(\w+)",severity="(\w+)"', sample["labels"])
                    fired |= set(found)
    assert fired == {(alert["alert"], alert["labels"]["severity"]) for alert in alerts()}


@with_promtool
@pytest.mark.parametrize("divisor", ["1", "120"])
def test_prometheus_accepts_the_rules(tmp_path: Path, divisor: str) -> None:
    render("--out", tmp_path / "rules.yml", "--divisor", divisor)
    promtool("check", "rules", tmp_path / "rules.yml")


@with_promtool
@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*_test.yml")))
def test_alerts_fire_when_they_should_and_only_then(file: str) -> None:
    promtool("test", "rules", file)
