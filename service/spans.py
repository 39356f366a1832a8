"""Traces by OpenTelemetry: a span for each request, and one below it for each of its phases.

The phases are laid end to end from the start of the request, with the times that the log and the
metrics have too, when it has ended; of a reply that is sent as it comes to be, encode began before
run had ended. Pages that are asked for by machines, every few seconds, have no spans.
"""

from __future__ import annotations

import os
import time
from threading import Thread
from typing import get_args

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from service import __version__
from service.config import InvalidSetting
from service.making import Progress
from service.metrics import Phase
from service.middleware import Application, Message, Receive, Scope, Send, header

CLOSING_S = 3.0
_UNTRACED = ("/health/", "/v2/health/", "/metrics", "/static/")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_PROTOCOL = "http/protobuf"


def open_traces() -> Traces:
    """Traces that are sent as the OTEL_* variables say.

    Raises:
        InvalidSetting: a variable has a value that is of no use here.
    """
    ours = Resource.create({"service.name": "ganymede", "service.version": __version__})
    resource = ours.merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = _exporter()
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return Traces(provider)


def _exporter() -> SpanExporter | None:
    name = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if name == "none":
        return None
    if name == "console":
        return ConsoleSpanExporter()
    if name != "otlp":
        raise InvalidSetting(f"OTEL_TRACES_EXPORTER={name!r}: must be otlp, console or none")
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (protocol := os.environ.get(variable) or _PROTOCOL) != _PROTOCOL:
            raise InvalidSetting(f"{variable}={protocol!r}: must be {_PROTOCOL}; leave it out")
    return OTLPSpanExporter()


class Traces:
    """Where the spans of an application go.

    Args:
        provider: samples them, and sends them on.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    def around(self, application: Application, root_path: str) -> Application:
        """The application, with a span for each of its requests."""
        return _Traced(application, self._provider, root_path)

    def close(self) -> None:
        """Send what was not sent yet, within ``CLOSING_S``: a collector may be gone for good."""
        sender = Thread(target=self._provider.shutdown, daemon=True)
        sender.start()
        sender.join(CLOSING_S)


class _Traced:
    """Pure ASGI, right around ``Observe``, which finds what to tell in ``scope``.

    ``trace_id`` is told in the log; ``exemplar`` belongs to the metrics, and is there only when the
    trace is kept.
    """

    def __init__(self, application: Application, provider: TracerProvider, root_path: str) -> None:
        self._application = application
        self._tracer = provider.get_tracer("ganymede", __version__)
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        path = scope.get("path", "").removeprefix(self._root_path)
        if scope["type"] != "http" or path.startswith(_UNTRACED):
            await self._application(scope, receive, send)
            return
        start_ns, status = time.time_ns(), 0
        asked = _asked(scope)
        span = self._tracer.start_span(
            str(asked["http.request.method"]),
            context=extract(scope, getter=_HEADERS),
            kind=SpanKind.SERVER,
            attributes=asked,
            start_time=start_ns,
        )
        _tell(span, scope)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, watched)
        finally:
            if span.is_recording():
                _answered(span, scope, status)
                self._lay_phases(span, scope["progress"], start_ns)
            span.end()

    def _lay_phases(self, span: Span, progress: Progress, start_ns: int) -> None:
        parent, end_ns = set_span_in_context(span), time.time_ns()
        phase: Phase
        for phase in get_args(Phase):
            if phase in progress.phases_s:
                child = self._tracer.start_span(phase, context=parent, start_time=start_ns)
                start_ns = min(start_ns + round(progress.phases_s[phase] * 1e9), end_ns)
                child.end(start_ns)


class _Headers(Getter[Scope]):
    """Lets the propagators of OTEL_PROPAGATORS read a request's headers."""

    def get(self, carrier: Scope, key: str) -> list[str] | None:
        """As OpenTelemetry says."""
        value = header(carrier, key.lower().encode("latin-1"))
        return None if value is None else [value]

    def keys(self, carrier: Scope) -> list[str]:
        """As OpenTelemetry says."""
        return [name.decode("latin-1") for name, _ in carrier["headers"]]


_HEADERS = _Headers()


def _asked(scope: Scope) -> dict[str, AttributeValue]:
    """What is known of a request before it is answered, as OpenTelemetry names it."""
    asked: dict[str, AttributeValue] = {
        "http.request.method": scope["method"] if scope["method"] in _METHODS else "_OTHER",
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
    }
    if scope.get("client"):
        asked["client.address"] = scope["client"][0]
    if agent := header(scope, b"user-agent"):
        asked["user_agent.original"] = agent
    return asked


def _tell(span: Span, scope: Scope) -> None:
    context = span.get_span_context()
    if context.is_valid:
        scope["trace_id"] = format_trace_id(context.trace_id)
    if span.is_recording():
        scope["exemplar"] = {
            "trace_id": scope["trace_id"],
            "span_id": format_span_id(context.span_id),
        }


def _answered(span: Span, scope: Scope, status: int) -> None:
    """What became of a request: a status of 0 is a client that went away."""
    progress: Progress = scope["progress"]
    told: dict[str, AttributeValue] = {"ganymede.request_id": scope["request_id"]}
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        told["http.route"] = route
        span.update_name(f"{scope['method']} {route}")
    if status:
        told["http.response.status_code"] = status
    if status == 0 or status >= 500:
        told["error.type"] = str(status) if status else "client_gone"
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
    if progress.model:
        told["ganymede.model"], told["ganymede.version"] = progress.model, progress.version
        told["ganymede.images"] = progress.images
    if progress.cache:
        told["ganymede.cache"] = progress.cache
    span.set_attributes(told)
