"""Traces: what a request's spans say, whose trace they belong to, and that off means off."""

from __future__ import annotations

import gzip
import logging
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from threading import Event, Thread

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from service import spans
from service.app import create_app
from service.config import InvalidSetting, ServiceConfig
from service.middleware import ClientGone
from service.model import Model
from service.spans import Traces, open_traces
from service.tracing import open_traces as traces_if_wanted
from tests.service.conftest import Serve, access_lines
from tests.service.processes import refused

pytestmark = pytest.mark.anyio

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"}
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


class Kept:
    """An application, and the spans of its requests."""

    def __init__(self, config: ServiceConfig) -> None:
        self._memory = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._memory))
        self.app: FastAPI = create_app(config, traces=Traces(provider))

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that ended, the request's last."""
        return self._memory.get_finished_spans()

    def request(self) -> ReadableSpan:
        """The span of the one request."""
        [found] = [each for each in self.spans() if each.kind is SpanKind.SERVER]
        return found


@pytest.fixture
def kept(config: ServiceConfig) -> Kept:
    return Kept(config)


def interval(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_trace_id(span.context.trace_id)


async def test_a_request_is_a_span_with_its_phases_end_to_end(kept: Kept, serve: Serve) -> None:
    async with serve(kept.app) as client:
        reply = await client.post("/generate", json={"seed": 7, "num_images": 3})
    *phases, whole = kept.spans()
    assert [each.name for each in phases] == ["decode", "queue", "run", "encode"]
    assert whole.context is not None
    assert {each.parent.span_id for each in phases if each.parent} == {whole.context.span_id}
    assert {trace_id(each) for each in kept.spans()} == {trace_id(whole)}
    start, end = interval(whole)
    assert interval(phases[0])[0] == start
    assert all(interval(one)[1] == interval(next_)[0] for one, next_ in pairwise(phases))
    assert interval(phases[-1])[1] <= end
    told_ms = [float(each.split("dur=")[1]) for each in reply.headers["server-timing"].split(", ")]
    for told, phase in zip(told_ms, phases, strict=True):
        begins, ends = interval(phase)
        assert (ends - begins) / 1e6 == pytest.approx(told, abs=0.001)


async def test_what_the_span_says(kept: Kept, serve: Serve) -> None:
    async with serve(kept.app) as client:
        await client.post("/generate", json={"num_images": 3}, headers={"X-Request-Id": "abc"})
    span = kept.request()
    assert span.name == "POST /generate"
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes is not None
    told = dict(span.attributes)
    assert told.pop("user_agent.original")
    assert told.pop("client.address")
    assert told == {
        "http.request.method": "POST",
        "http.route": "/generate",
        "http.response.status_code": 200,
        "url.path": "/generate",
        "url.scheme": "http",
        "ganymede.request_id": "abc",
        "ganymede.model": "tiny",
        "ganymede.version": 1,
        "ganymede.images": 3,
    }


async def test_a_cached_reply_says_so(config: ServiceConfig, serve: Serve) -> None:
    kept = Kept(config.model_copy(update={"cache_bytes": 2**20}))
    async with serve(kept.app) as client:
        for _ in range(2):
            await client.post("/generate", json={"seed": 7})
    *_, decode, whole = kept.spans()
    assert decode.name == "decode"
    assert whole.attributes is not None
    assert whole.attributes["ganymede.cache"] == "hit"


async def test_the_callers_trace_goes_on(kept: Kept, serve: Serve) -> None:
    async with serve(kept.app) as client:
        await client.post("/generate", json={}, headers=SAMPLED)
    span = kept.request()
    assert trace_id(span) == TRACE_ID
    assert span.parent is not None
    assert format_span_id(span.parent.span_id) == PARENT_ID


async def test_a_trace_that_the_caller_does_not_keep_is_logged_and_not_sent(
    kept: Kept, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    async with serve(kept.app) as client:
        await client.post("/generate", json={}, headers=NOT_SAMPLED)
        exposed = (await client.get("/metrics", headers=OPENMETRICS)).text
    assert kept.spans() == ()
    assert "# {trace_id=" not in exposed
    line = next(each for each in access_lines(caplog) if each["path"] == "/generate")
    assert line["trace_id"] == TRACE_ID


@pytest.mark.parametrize("parent", ["", "nonsense", f"00-{'0' * 32}-{PARENT_ID}-01"])
async def test_a_parent_that_is_none_is_passed_over(kept: Kept, serve: Serve, parent: str) -> None:
    async with serve(kept.app) as client:
        await client.post("/generate", json={}, headers={"traceparent": parent})
    assert kept.request().parent is None


async def test_the_log_line_names_the_trace(
    kept: Kept, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    async with serve(kept.app) as client:
        await client.post("/generate", json={})
    line = next(each for each in access_lines(caplog) if each["path"] == "/generate")
    assert line["trace_id"] == trace_id(kept.request())


async def test_a_bucket_of_the_metrics_names_the_trace_where_the_format_can(
    kept: Kept, serve: Serve
) -> None:
    async with serve(kept.app) as client:
        await client.post("/generate", json={})
        exposed = (await client.get("/metrics", headers=OPENMETRICS)).text
        plain = (await client.get("/metrics")).text
    named = [
        line for line in exposed.splitlines() if f'trace_id="{trace_id(kept.request())}"' in line
    ]
    assert [line.split("{")[0] for line in named] == ["ganymede_request_seconds_bucket"]
    assert "trace_id" not in plain


async def test_pages_for_machines_have_no_spans(kept: Kept, serve: Serve) -> None:
    async with serve(kept.app) as client:
        for path in ("/health/live", "/health/ready", "/v2/health/live", "/metrics"):
            assert (await client.get(path)).status_code == 200
    assert kept.spans() == ()


async def test_refusals_are_no_errors_and_failures_are(
    kept: Kept, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    async def leave(*_: object, **__: object) -> None:
        raise ClientGone

    async with serve(kept.app) as client:
        await client.post("/generate", json={"sead": 1})
        await client.get("/nothing")
        monkeypatch.setattr(Model, "infer", fail)
        await client.post("/generate", json={})
        monkeypatch.setattr(Model, "infer", leave)
        with pytest.raises(AssertionError):  # httpx's transport was sent no reply, as meant
            await client.post("/generate", json={})
    requests = [each for each in kept.spans() if each.kind is SpanKind.SERVER]
    assert [each.name for each in requests] == ["POST /generate", "GET", *["POST /generate"] * 2]
    assert [each.status.is_ok for each in requests] == [True, True, False, True]
    told = [(each.attributes or {}).get("error.type") for each in requests]
    assert told == [None, None, "500", "client_gone"]


async def test_a_streamed_reply_has_its_phases_too(kept: Kept, serve: Serve) -> None:
    wish = {"seed": 7, "num_images": 3}
    async with serve(kept.app) as client:
        await client.post("/generate", json=wish, headers={"Accept": "multipart/mixed"})
    *phases, whole = kept.spans()
    assert [each.name for each in phases] == ["decode", "queue", "run", "encode"]
    assert all(interval(each)[1] <= interval(whole)[1] for each in phases)


async def test_off_means_that_nothing_is_there(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    await client.post("/generate", json={}, headers=SAMPLED)
    [line] = access_lines(caplog)
    assert "trace_id" not in line


# --- Opening them. ---


def test_traces_are_opened_only_when_wanted() -> None:
    assert traces_if_wanted(ServiceConfig()) is None


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "service.spans")
    monkeypatch.delattr(sys.modules["service"], "spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidSetting, match=r"GANYMEDE_TRACES needs opentelemetry.*\[otel\]"):
        traces_if_wanted(ServiceConfig(traces=True))


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "must be otlp, console or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "must be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "must be http/protobuf"),
    ],
)
def test_a_variable_of_no_use_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSetting, match=f"{variable}='{value}': {said}"):
        traces_if_wanted(ServiceConfig(traces=True))


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExportTraceServiceRequest]]:
    """What a collector is sent, which the variables name."""
    found: list[ExportTraceServiceRequest] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            found.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield found
        server.shutdown()
        thread.join()


async def test_a_collector_gets_them_before_the_service_has_ended(
    config: ServiceConfig,
    serve: Serve,
    collector: list[ExportTraceServiceRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    app = create_app(config.model_copy(update={"traces": True}))
    async with serve(app) as client:
        await client.post("/generate", json={})
    resources = [each for request in collector for each in request.resource_spans]
    told = {each.key: each.value.string_value for each in resources[0].resource.attributes}
    assert told["service.name"] == "pictures"
    assert told["service.version"]
    names = [span.name for each in resources for part in each.scope_spans for span in part.spans]
    assert sorted(names) == ["POST /generate", "decode", "encode", "queue", "run"]


async def test_none_exports_nothing_and_still_names_traces(
    monkeypatch: pytest.MonkeyPatch, config: ServiceConfig, serve: Serve
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    async with serve(create_app(config, traces=open_traces())) as client:
        assert (await client.post("/generate", json={})).status_code == 200


def test_a_collector_that_is_gone_does_not_keep_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    comes_back, provider = Event(), TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(spans, "CLOSING_S", 0.01)
    monkeypatch.setattr(provider, "shutdown", comes_back.wait)
    Traces(provider).close()
    comes_back.set()


def test_a_service_that_could_not_send_them_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    said = "OTEL_TRACES_EXPORTER='zipkin': must be otlp, console or none"
    assert refused("--workers", "2", TRACES="true") == f"ganymede: {said}"
