"""Requests that are counted together: as one by one, each kind apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.ended import Ended, Histogram
from service.histograms import SECONDS
from service.metrics import Metrics

ROUTE = "/generate"
# Sums of these are exact, in any order.
AMOUNTS = st.lists(st.integers(0, 2**17).map(lambda count: count / 2**11), min_size=1)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def ended(
    seconds: float = 0.5,
    *,
    route: str = ROUTE,
    model: str = "tiny",
    status: int = 200,
    images: int = 1,
    trace: str = "",
) -> Ended:
    phases_s = {"queue": seconds / 4, "run": seconds / 2}
    exemplar = {"trace_id": trace} if trace else None
    return Ended(route, model, status, seconds, phases_s, images, exemplar)


def samples(registry: CollectorRegistry) -> Samples:
    """Every sample but those of this process."""
    found = [sample for family in registry.collect() for sample in family.samples]
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for sample in found
        if not sample.name.startswith("process_")
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"ganymede_{name}", labels)


def counted(observe: Callable[[Histogram], None]) -> Samples:
    registry = CollectorRegistry()
    observe(Histogram("some_seconds", "Some.", buckets=SECONDS, registry=registry))
    return samples(registry)


@given(AMOUNTS)
def test_many_amounts_are_counted_as_each_of_them(amounts: list[float]) -> None:
    def one_by_one(histogram: Histogram) -> None:
        for amount in amounts:
            histogram.observe(amount)

    assert counted(lambda histogram: histogram.observe_all(amounts)) == counted(one_by_one)


def test_an_amount_at_the_end_of_a_bucket_is_in_it() -> None:
    amounts = [*SECONDS, 2 * SECONDS[-1]]
    found = counted(lambda histogram: histogram.observe_all(amounts))
    buckets = [count for (name, _), count in found.items() if name == "some_seconds_bucket"]
    assert buckets == list(range(1, len(SECONDS) + 2))
    assert found["some_seconds_count", ()] == len(amounts)


def test_requests_are_counted_as_each_of_them() -> None:
    many = [
        *[ended(2.0**-k, images=k) for k in range(9)],
        *[ended(0.25, status=429, images=0), ended(0.125, status=429, images=0)],
        *[ended(0.5, model="", route="/models", images=0), ended(4.0, trace="a"), ended(8.0)],
        Ended(ROUTE, "tiny", 500, 1.0, {"decode": 1.0}, images=0),  # it came no further
    ]
    together, apart = Metrics(), Metrics()
    together.observe_requests(many)
    for each in many:
        apart.observe_requests([each])
    assert samples(together.registry) == samples(apart.registry)
    assert value(together, "phase_seconds_sum", phase="queue", model="tiny") == (
        sum(each.phases_s.get("queue", 0) for each in many if each.model)
    )


def test_requests_of_different_kinds_are_counted_apart() -> None:
    metrics = Metrics()
    kinds = [
        (ROUTE, "tiny", 200),
        (ROUTE, "tiny", 504),
        (ROUTE, "other", 200),
        ("/translate", "tiny", 200),
    ]
    for times, (route, model, status) in enumerate(kinds, start=1):
        kind = ended(route=route, model=model, status=status, images=10)
        metrics.observe_requests([kind] * times + [ended(route="/none", model="none")])
    totals = [
        value(metrics, "requests_total", route=route, model=model, status=str(status))
        for route, model, status in kinds
    ]
    assert totals == [1, 2, 3, 4]
    seconds = [
        value(metrics, "request_seconds_count", route=route, model=model)
        for route, model in ((ROUTE, "tiny"), (ROUTE, "other"), ("/translate", "tiny"))
    ]
    assert seconds == [1, 3, 4]
    assert value(metrics, "images_total", model="tiny") == 10 * (1 + 4)
    assert value(metrics, "images_total", model="other") == 10 * 3
    assert value(metrics, "requests_total", route="/none", model="none", status="200") == 4


@pytest.mark.parametrize("status", [304, 422, 429, 499, 500, 503, 504])
def test_refusals_do_not_flatter_the_times_of_answers(status: int) -> None:
    metrics = Metrics()
    metrics.observe_requests([ended(0.25), ended(0.001, status=status), ended(0.5)])
    assert value(metrics, "request_seconds_count", route=ROUTE, model="tiny") == 2
    assert value(metrics, "request_seconds_sum", route=ROUTE, model="tiny") == 0.75
    assert value(metrics, "images_total", model="tiny") == 2
    assert value(metrics, "phase_seconds_count", phase="run", model="tiny") == 3
    alone = Metrics()
    alone.observe_requests([ended(status=status)])
    assert value(alone, "request_seconds_count", route=ROUTE, model="tiny") is None


def test_a_request_names_its_trace_among_others_that_have_none() -> None:
    metrics = Metrics()
    metrics.observe_requests([ended(0.3), ended(3.0, trace="abc"), ended(0.3), ended(3.0)])
    assert value(metrics, "request_seconds_count", route=ROUTE, model="tiny") == 4
    named = {
        (sample.name, sample.labels["le"]): (sample.exemplar.labels, sample.exemplar.value)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.exemplar is not None
    }
    bucket = next(bound for bound in SECONDS if bound >= 3.0)
    assert named == {
        ("ganymede_request_seconds_bucket", str(bucket)): ({"trace_id": "abc"}, 3.0),
    }
