"""What may be asked of Prometheus: the service's series, and those that the rules record."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from service.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
# What Prometheus adds: labels of the target, and the label of a bucket.
OF_PROMETHEUS = {"job", "instance", "le"}


def groups() -> list[dict[str, Any]]:
    """Return the groups of Prometheus's rules."""
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return found


def alerts() -> list[dict[str, Any]]:
    """Return the rules that call a person."""
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def recordings() -> list[dict[str, Any]]:
    """Return the rules that derive a series."""
    return [rule for group in groups() for rule in group["rules"] if "record" in rule]


@cache
def series() -> dict[str, set[str]]:
    """Return every series that there is, with the labels that it may carry."""
    found = {"up": OF_PROMETHEUS, "ALERTS": OF_PROMETHEUS | {"alertname", "alertstate", "severity"}}
    for collector, names in Metrics().registry._collector_to_names.items():
        labels = set(getattr(collector, "_labelnames", ()))
        samples = [sample.name for family in collector.collect() for sample in family.samples]
        found |= {name: labels | OF_PROMETHEUS for name in [*names, *samples]}
    for rule in recordings():  # job_model:... keeps the labels job and model
        level = set(rule["record"].split(":")[0].split("_"))
        found[rule["record"]] = level | set(rule.get("labels", ()))
    return found


def faults(query: str) -> list[str]:
    """Return which series and labels a query names that do not exist."""
    known = series()
    plain = re.sub(r'"[^"]*"', '""', query)
    name = (
        r"\b(?:ganymede|process|python)_\w+\b|\b[a-z_]+:[a-z0-9_]+:[a-z0-9_]+\b|\bup\b|\bALERTS\b"
    )
    named = set(re.findall(name, plain))
    found = [] if named else ["asks for nothing of the service"]
    found += [f"there is no series {each}" for each in sorted(named - known.keys())]
    for each, selector in re.findall(rf"({name})\{{([^}}]*)\}}", plain):
        labels = set(re.findall(r"(\w+)\s*[=!]~?\s*\"", selector))
        found += [f"{each} has no label {label}" for label in labels - known.get(each, set())]
    carried = set().union(*(known.get(each, set()) for each in named))
    for grouping in re.findall(r"\b(?:by|on) \(([^)]*)\)", plain):
        labels = {label.strip() for label in grouping.split(",")}
        found += [f"nothing here has the label {label}" for label in labels - carried]
    return found
