"""Every Prometheus series of the service, in one place.

Base units, few labels (never a seed or a request id), histograms with geometric buckets. The four
phases of a request are one series, and their sum explains ``ganymede_request_seconds``: decode is
from its start to its rows, body and negotiation included; queue and run are told by the batcher;
encode is from the pictures to the whole body. Each gauge says how several workers' values become
one (``multiprocess_mode``); whichever worker is asked shows the totals of all (``slots``).

ONNX Runtime does not tell what its sessions hold in memory: ``process_resident_memory_bytes`` has
it, with everything else.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from service import __version__
from service.ended import Ended, Histogram, Series
from service.histograms import RATIOS, ROWS, SECONDS
from service.paths import ENDINGS, TURNED_AWAY
from service.processes import Processes
from service.slots import SlotCollector, SlotGauge

# Half the samples, and promtool takes the gauges of creation times for badly named counters.
disable_created_metrics()  # type: ignore[no-untyped-call]

Phase = Literal["decode", "queue", "run", "encode"]
Refusal = Literal[
    "queue_full", "deadline_unmeetable", "deadline_exceeded", "not_ready", "invalid",
    "unauthorized", "forbidden", "rate_limited",
]  # fmt: skip
CacheResult = Literal["hit", "shared", "miss"]
Aggregate = Literal["livesum", "livemax", "livemin"]

PREFIX = "ganymede_"


class Metrics:
    """One application's series in a registry of its own, so that a process may hold several.

    Args:
        shared: the folder of a worker that has called ``slots.occupy``: what is exposed are the
            totals of all workers.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self.registry = self._exposed = CollectorRegistry()
        self._series: dict[tuple[str, str, int], Series] = {}
        self._gauge_class = Gauge
        if shared is None:
            ProcessCollector(registry=self.registry)
        else:
            self._gauge_class = SlotGauge
            self._exposed = CollectorRegistry()
            SlotCollector(self._exposed, shared)  # type: ignore[no-untyped-call]
            self._exposed.register(Processes(shared, os.getppid()))
        self._count_requests()
        self._count_batches()
        self._count_replies()
        self._tell_state()

    def _count_requests(self) -> None:
        """Requests, as the client sees them."""
        self.requests = self._counter(
            "requests_total", "Requests answered.", "route", "model", "status"
        )
        self.request_seconds = self._histogram(
            "request_seconds",
            "Time from the request to the end of its reply, of those answered with 200.",
            SECONDS,
            "route",
            "model",
        )
        self.phase_seconds = self._histogram(
            "phase_seconds", "Time that a request spent in one phase.", SECONDS, "phase", "model"
        )
        self.images = self._counter("images_total", "Images sent in replies.", "model")
        self.refusals = self._counter("refusals_total", "Requests refused or expired.", "reason")
        for reason in get_args(Refusal):
            self.refusals.labels(reason)  # shown as 0 until it happens, so that rates see the first
        self.cancellations = self._counter(
            "cancellations_total", "Requests whose client went away before the reply."
        )

    def _count_batches(self) -> None:
        """Batches, as the device sees them."""
        self.batch_rows = self._histogram("batch_rows", "Rows of one inference.", ROWS, "model")
        self.batch_seconds = self._histogram(
            "batch_seconds", "Time of one inference on the device.", SECONDS, "model"
        )
        self.padding_rows = self._counter(
            "padding_rows_total", "Rows computed only to fill a bucket.", "model"
        )
        self.failed_batches = self._counter(
            "failed_batches_total", "Inferences that failed, retries included.", "model"
        )
        self.cost_ratio = self._histogram(
            "cost_ratio",
            "Measured over predicted time of one batch: 1 when the cost model is right.",
            RATIOS,
            "model",
        )
        self.withdrawn_rows = self._counter(
            "withdrawn_rows_total",
            "Rows accepted and never computed: their client left, or their deadline passed.",
            "model",
        )
        self.session_rebuilds = self._counter(
            "session_rebuilds_total", "Attempts to open a failed model anew.", "model"
        )

    def _count_replies(self) -> None:
        """Replies that could be sent again: those to requests with a seed."""
        self.cache_requests = self._counter(
            "cache_requests_total",
            "Requests with a seed: their reply was kept, was being made for another, or was made.",
            "result",
        )
        for result in get_args(CacheResult):
            self.cache_requests.labels(result)
        self.cache_bytes = self._gauge("cache_bytes", "Bytes of finished replies kept.", "livesum")
        self.cache_limit_bytes = self._gauge(
            "cache_limit_bytes", "Bytes of finished replies that may be kept.", "livesum"
        )

    def _tell_state(self) -> None:
        """The service itself, and what waits in it."""
        self._gauge("workers", "Processes that answer requests.", "livesum").set(1)
        self.worker_restarts = self._counter(
            "worker_restarts_total", "Workers that took the place of one that had ended."
        )
        self.event_loop_lag_seconds = self._histogram(
            "event_loop_lag_seconds", "How late the event loop wakes up.", SECONDS
        )
        self.queue_rows = self._gauge("queue_rows", "Rows waiting.", "livesum", "model")
        self.queue_fullness_ratio = self._gauge(
            "queue_fullness_ratio",
            "How near the next image is to a refusal, by what waits: at 1 it is refused.",
            "livemax",
            "model",
        )
        self.queue_age_seconds = self._gauge(
            "queue_age_seconds", "Time that the oldest request has waited.", "livemax", "model"
        )
        self.overdue_seconds = self._gauge(
            "overdue_seconds",
            "Time of an inference that takes far longer than predicted, else 0.",
            "livemax",
            "model",
        )
        self.ready = self._gauge("ready", "1 when requests are accepted, else 0.", "livemin")
        self.keys_stale = self._gauge(
            "keys_stale", "1 while the keys file cannot be used, and earlier keys are.", "livemax"
        )
        self.models_loaded = self._gauge("models_loaded", "Model versions that serve.", "livemax")
        self.model_failures = self._gauge(
            "model_failures", "Bundles in the folders that cannot be served.", "livemax"
        )
        self.model_info = self._gauge(
            "model_info",
            "1 for each model version that serves.",
            "livemax",
            "model",
            "version",
            "provider",
        )
        self._gauge(
            "build_info", "1, with what is running.", "livemax", "version", "python"
        ).labels(__version__, platform.python_version()).set(1)

    def observe_requests(self, ended: Iterable[Ended]) -> None:
        """Count requests that have ended."""
        kinds: dict[tuple[str, str, int], list[Ended]] = {}
        for each in ended:
            kinds.setdefault(each.kind, []).append(each)
        for kind, alike in kinds.items():
            self._series_of(*kind).observe(alike)

    def _series_of(self, route: str, model: str, status: int) -> Series:
        kind = route, model, status
        series = self._series.get(kind)
        if series is None:
            answered = status == 200
            phases = get_args(Phase) if model else ()
            series = self._series[kind] = Series(
                self.requests.labels(route, model, str(status)),
                {phase: self.phase_seconds.labels(phase, model) for phase in phases},
                self.request_seconds.labels(route, model) if answered else None,
                self.images.labels(model) if answered and model else None,
            )
        return series

    def observe_batch(self, model: str) -> Callable[[int, int, float], None]:
        """What counts the inferences of one model: its rows, padding rows and seconds."""
        batch_rows, batch_seconds = self.batch_rows.labels(model), self.batch_seconds.labels(model)
        padded = self.padding_rows.labels(model)

        def observe(rows: int, padding_rows: int, seconds: float) -> None:
            batch_rows.observe(rows)
            batch_seconds.observe(seconds)
            if padding_rows:
                padded.inc(padding_rows)

        return observe

    def look_up(self, result: CacheResult) -> None:
        """Count a request that could be answered from the cache of replies."""
        self.cache_requests.labels(result).inc()

    def refuse(self, reason: Refusal) -> None:
        """Count a request that was not answered, and why."""
        self.refusals.labels(reason).inc()

    def offer(
        self,
        model: str,
        routes: Iterable[str],
        *,
        waiting_rows: Callable[[], float],
        fullness: Callable[[], float],
        oldest_wait_s: Callable[[], float],
        overdue_s: Callable[[], float],
    ) -> None:
        """Show a model's series from 0 on, so that a rate sees the first; its queue when read."""
        for series in (
            self.images, self.padding_rows, self.failed_batches, self.batch_rows,
            self.batch_seconds, self.cost_ratio, self.withdrawn_rows, self.session_rebuilds,
        ):  # fmt: skip
            series.labels(model)
        for route in routes:
            for status in ENDINGS:
                self._series_of(route, model, status)
            for status in TURNED_AWAY:
                self._series_of(route, "", status)
        self.queue_rows.labels(model).set_function(waiting_rows)
        self.queue_fullness_ratio.labels(model).set_function(fullness)
        self.queue_age_seconds.labels(model).set_function(oldest_wait_s)
        self.overdue_seconds.labels(model).set_function(overdue_s)

    def withdraw(self, model: str) -> None:
        """Show no queue of a model that is gone; what was counted stays."""
        for series in (
            self.queue_rows, self.queue_fullness_ratio, self.queue_age_seconds,
            self.overdue_seconds,
        ):  # fmt: skip
            series.remove(model)

    def refresh(self) -> None:
        """Show other workers what is read rather than counted; alone, whoever reads it does."""
        SlotGauge.refresh()

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition for an Accept header, and its Content-Type."""
        self.refresh()
        try:
            encoder, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no number
            encoder, content_type = choose_encoder("")
        return encoder(self._exposed), content_type

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, aggregate: Aggregate, *labels: str) -> Gauge:
        return self._gauge_class(
            PREFIX + name, text, labels, registry=self.registry, multiprocess_mode=aggregate
        )

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(PREFIX + name, text, labels, registry=self.registry, buckets=buckets)
