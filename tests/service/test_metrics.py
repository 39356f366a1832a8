"""The series: their names, and that reading them gives what was counted."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise

import pytest
from prometheus_client.core import Metric

from service.ended import Ended
from service.histograms import SECONDS
from service.metrics import Metrics


def used() -> Metrics:
    """Every series with a sample."""
    return use(Metrics())


def use(metrics: Metrics) -> Metrics:
    metrics.observe_requests([Ended("/generate", "tiny", 200, 0.01, {"queue": 0.001}, images=1)])
    metrics.images.labels("tiny").inc(3)
    metrics.refuse("queue_full")
    metrics.look_up("hit")
    metrics.cancellations.inc()
    metrics.observe_batch("tiny")(3, 1, 0.002)
    metrics.failed_batches.labels("tiny").inc()
    metrics.cost_ratio.labels("tiny").observe(1.1)
    metrics.withdrawn_rows.labels("tiny").inc(2)
    metrics.session_rebuilds.labels("tiny").inc()
    offer(metrics, lambda: 5)
    metrics.model_info.labels("tiny", "1", "cpu").set(1)
    return metrics


def offer(metrics: Metrics, read: Callable[[], float]) -> None:
    metrics.offer(
        "tiny", ("/generate",), waiting_rows=read, fullness=read, oldest_wait_s=read, overdue_s=read
    )


def ours(metrics: Metrics) -> list[Metric]:
    return [family for family in metrics.registry.collect() if family.name.startswith("ganymede")]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_what_is_counted_is_read() -> None:
    metrics = used()
    assert value(metrics, "ganymede_requests_total", route="/generate", model="tiny", status="200")
    assert value(metrics, "ganymede_batch_rows_sum", model="tiny") == 3
    assert value(metrics, "ganymede_batch_seconds_sum", model="tiny") == 0.002
    assert value(metrics, "ganymede_padding_rows_total", model="tiny") == 1
    assert value(metrics, "ganymede_phase_seconds_sum", phase="queue", model="tiny") == 0.001
    assert value(metrics, "ganymede_refusals_total", reason="queue_full") == 1
    assert value(metrics, "ganymede_cache_requests_total", result="hit") == 1


def test_the_queue_is_read_when_the_metrics_are() -> None:
    metrics, waiting = Metrics(), [5]
    offer(metrics, lambda: waiting[0])
    assert value(metrics, "ganymede_queue_rows", model="tiny") == 5
    waiting[0] = 7
    assert value(metrics, "ganymede_queue_rows", model="tiny") == 7
    assert value(metrics, "ganymede_queue_age_seconds", model="tiny") == 7
    assert value(metrics, "ganymede_overdue_seconds", model="tiny") == 7
    assert value(metrics, "ganymede_queue_fullness_ratio", model="tiny") == 7
    metrics.withdraw("tiny")
    for name in ("queue_rows", "queue_fullness_ratio", "queue_age_seconds", "overdue_seconds"):
        assert value(metrics, f"ganymede_{name}", model="tiny") is None


def test_the_first_error_of_a_model_can_be_seen() -> None:
    metrics = Metrics()
    offer(metrics, lambda: 0)
    errors = "ganymede_requests_total"
    for model, statuses in (("tiny", (200, 429, 500, 503, 504)), ("", (429, 503))):
        for status in map(str, statuses):
            labels = {"route": "/generate", "model": model, "status": status}
            assert value(metrics, errors, **labels) == 0
    assert value(metrics, "ganymede_phase_seconds_count", phase="run", model="tiny") == 0
    assert value(metrics, "ganymede_request_seconds_count", route="/generate", model="tiny") == 0
    metrics.observe_requests([Ended("/generate", "tiny", 500, 0.1, {}, images=0)])
    assert value(metrics, errors, route="/generate", model="tiny", status="500") == 1


def test_what_has_not_happened_yet_is_shown_as_zero() -> None:
    metrics = Metrics()
    offer(metrics, lambda: 0)
    assert value(metrics, "ganymede_refusals_total", reason="deadline_exceeded") == 0
    assert value(metrics, "ganymede_cache_requests_total", result="miss") == 0
    assert value(metrics, "ganymede_failed_batches_total", model="tiny") == 0
    assert value(metrics, "ganymede_withdrawn_rows_total", model="tiny") == 0
    assert value(metrics, "ganymede_session_rebuilds_total", model="tiny") == 0
    assert value(metrics, "ganymede_batch_rows_count", model="tiny") == 0


def test_several_applications_in_one_process_count_apart() -> None:
    first, second = used(), Metrics()
    assert value(first, "ganymede_cancellations_total") == 1
    assert value(second, "ganymede_cancellations_total") == 0


def test_names_have_the_prefix_base_units_and_no_abbreviations() -> None:
    families = ours(used())
    assert len(families) >= 17
    for family in families:
        assert re.fullmatch(r"ganymede_[a-z_]+", family.name)
        assert not re.search(r"_(ms|us|ns|sec|secs|mb|kb|pct|percent|milli\w*)(_|$)", family.name)
        assert family.documentation.endswith(".")
        names = {sample.name for sample in family.samples}
        assert not any(name.endswith("_created") for name in names)
        if family.type == "counter":
            assert names == {f"{family.name}_total"}
        else:
            assert not family.name.endswith("_total")
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_rows", "_ratio"))


def test_labels_are_few() -> None:
    for family in ours(used()):
        for sample in family.samples:
            assert set(sample.labels) - {"le"} <= {
                "route", "model", "status", "phase", "reason", "result", "version", "provider",
                "python",
            }  # fmt: skip


def test_buckets_of_time_are_geometric_and_reach_past_the_default_deadline() -> None:
    ratios = {round(b / a, 9) for a, b in pairwise(SECONDS)}
    assert ratios == {2}
    assert SECONDS[0] <= 0.00025
    assert SECONDS[-1] > 30


def test_the_exposition_follows_the_accept_header() -> None:
    metrics = used()
    body, content_type = metrics.expose("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    body, content_type = metrics.expose()
    assert content_type.startswith("text/plain")
    assert b"ganymede_build_info{" in body


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=abc",
        "text/plain; version=x.y; escaping=allow-utf-8",
    ],
)
def test_a_version_that_is_no_version_is_passed_over(accept: str) -> None:
    body, content_type = used().expose(accept)
    assert content_type.startswith("text/plain")
    assert b"ganymede_build_info{" in body


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing() -> None:
    body, _ = used().expose()
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
