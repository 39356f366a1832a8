"""TorchServe's door to a bundle: batches of requests in, a reply for each, whatever the others say.

``ganymede export --torchserve`` packs this file with the bundle, with ``ganymede_requests`` and
``ganymede_graphs``, and with those files of the service that read a request and make a reply of
pictures. TorchServe calls the one class in here.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import torch

from export.manifest import Graph, ImageOutput
from ganymede_graphs import Graphs
from ganymede_requests import Asked, Limits, read
from service.errors import InferenceFailed, ServiceError
from service.replies import render
from service.rows import Rows

COUNTERS = {
    "ganymede_torchserve_batches_total": ("ModelName",),
    "ganymede_torchserve_images_total": ("ModelName",),
    "ganymede_torchserve_run_seconds_total": ("ModelName",),
    "ganymede_torchserve_refusals_total": ("ModelName", "Reason"),
}
"""Metrics and their labels, as metrics.yaml has them too: TorchServe shows no others."""

_LOG = logging.getLogger(__name__)


class Handler:
    """One worker's copy of a model."""

    def initialize(self, context: Any) -> None:  # noqa: ANN401
        """Load the bundle that lies beside this file."""
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
        told = (context.model_yaml_config or {}).get("handler") or {}
        self._limits = _limits(told)
        self._graphs = Graphs(
            Path(properties["model_dir"]) / "bundle", device, self._limits.max_batch_rows
        )
        self._counters = {name: _counter(context.metrics, name) for name in COUNTERS}
        if device == "cpu":
            torch.set_num_threads(max(1, int(told.get("threads", torch.get_num_threads()))))

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:  # noqa: ANN401
        """Answer every request of a batch; one that cannot be answered gets its own refusal."""
        start = perf_counter()
        asked: dict[int, Asked] = {}
        replies: dict[int, bytes] = {}
        for place, row in enumerate(data):
            try:
                headers = context.get_all_request_header(place)
                manifest, words = self._graphs.manifest, self._graphs.words
                asked[place] = read(row, headers, manifest, words, self._limits)
            except Exception as error:
                replies[place] = self._refuse(error, place, context)
        for places in _alike(asked):
            run_start = perf_counter()
            answers = self._answers([asked[place] for place in places])
            run_s = perf_counter() - run_start
            self._count("run_seconds", run_s)
            times = {"queue_s": run_start - start, "run_s": run_s}
            for place, answer in zip(places, answers, strict=True):
                try:
                    replies[place] = self._reply(asked[place], answer, times, place, context)
                except Exception as error:
                    replies[place] = self._refuse(error, place, context)
        self._count("batches", 1)
        return [replies[place] for place in range(len(data))]

    def _answers(self, group: Sequence[Asked]) -> list[Rows | Exception]:
        """One run for all; where it fails, halves of it, so that poison fails alone."""
        try:
            return [*self._graphs.run(_graph(group[0]), [each.rows for each in group])]
        except Exception as error:  # whatever torch raises
            if len(group) == 1:
                return [error]
        half = len(group) // 2
        return [*self._answers(group[:half]), *self._answers(group[half:])]

    def _reply(
        self,
        asked: Asked,
        answer: Rows | Exception,
        times: Mapping[str, float],
        place: int,
        context: Any,  # noqa: ANN401
    ) -> bytes:
        if isinstance(answer, Exception):
            raise answer
        start = perf_counter()
        outputs = _graph(asked).outputs
        name = next(entry.name for entry in outputs if isinstance(entry, ImageOutput))
        rendered = render(asked.facts.plan.cut_out(answer[name]), asked.facts)
        for header, value in asked.facts.headers().items():
            context.set_response_header(place, header, value)
        context.set_response_content_type(place, rendered.content_type)
        context.set_response_status(200, "OK", place)
        self._count("images", len(answer))
        return rendered.told({**times, "encode_s": perf_counter() - start, "cached": False})

    def _refuse(self, error: Exception, place: int, context: Any) -> bytes:  # noqa: ANN401
        """The service's own refusal; of anything else the cause is logged, never shown."""
        if not isinstance(error, ServiceError):
            _LOG.error("a request failed", exc_info=error)
            error = InferenceFailed("the model failed on this request: tell who runs the service")
        context.set_response_content_type(place, "application/problem+json")
        context.set_response_status(error.status, error.title, place)
        self._count("refusals", 1, type(error).__name__)
        return orjson.dumps(error.problem())

    def _count(self, what: str, value: float, *labels: str) -> None:
        counter = self._counters[f"ganymede_torchserve_{what}_total"]
        counter.add_or_update(value, [self._graphs.manifest.name, *labels])


def _limits(told: Mapping[str, Any]) -> Limits:
    return Limits(
        **{each.name: int(told[each.name]) for each in fields(Limits) if each.name in told}
    )


def _counter(metrics: Any, name: str) -> Any:  # noqa: ANN401
    """The metric of metrics.yaml, or where another file is used, one that is logged alone."""
    try:
        return metrics.get_metric(name)
    except Exception:  # TorchServe's own, which is not importable without it
        return metrics.add_metric_to_cache(name, "count", list(COUNTERS[name]))


def _graph(asked: Asked) -> Graph:
    return asked.facts.plan.graph


def _alike(asked: Mapping[int, Asked]) -> list[list[int]]:
    """The places of requests that may share a run: one graph, one shape."""
    groups: dict[Hashable, list[int]] = {}
    for place, each in asked.items():
        groups.setdefault((_graph(each).onnx, each.rows.shape_key()), []).append(place)
    return list(groups.values())
