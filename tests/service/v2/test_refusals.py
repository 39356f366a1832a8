"""Every refusal below ``/v2`` is ``{"error": "..."}``, whoever refuses, with its own status."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import cast

import httpx
import pytest

from service.app import create_app
from service.batcher import Priority
from service.config import ServiceConfig
from service.errors import (
    DeadlineExceeded,
    DeadlineUnmeetable,
    InferenceFailed,
    NotReady,
    QueueFull,
    ServiceError,
)
from service.metrics import Metrics
from service.middleware import Message
from service.model import Model
from service.repository import Repository
from service.rows import Rows
from tests.service.conftest import Serve, access_lines
from tests.service.test_app import OneModel, call, held_model

pytestmark = pytest.mark.anyio

URL = "/v2/models/tiny/infer"


def error_of(reply: httpx.Response) -> str:
    assert reply.headers["content-type"] == "application/json"
    assert reply.json().keys() == {"error"}
    assert reply.headers["x-request-id"]
    said: str = reply.json()["error"]
    return said


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v2/models/tinny", 404, "did you mean 'tiny'"),
        ("GET", "/v2/models/tiny/versions/2/ready", 404, "no version 2"),
        ("GET", "/v2/models/tiny/versions/latest/config", 404, "not 'latest'"),
        ("GET", "/v2/models/tiny/versions/" + "9" * 5000 + "/stats", 404, "whole numbers"),
        ("POST", "/v2/models/none/infer", 404, "no model 'none'"),
        ("GET", "/v2/logging", 404, "/v2/logging"),
        ("GET", "/v2/models/tiny/infer", 405, "use POST"),
        ("POST", "/v2/models/tiny", 405, "use GET"),
    ],
)
async def test_a_path_that_leads_nowhere(
    client: httpx.AsyncClient, method: str, path: str, status: int, said: str
) -> None:
    reply = await client.request(method, path)
    assert reply.status_code == status
    assert said in error_of(reply)


async def test_other_pages_go_on_answering_problems(client: httpx.AsyncClient) -> None:
    for path in ("/v3", "/v2x", "/models/none"):
        reply = await client.get(path)
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["status"] == 404


async def test_a_head_has_no_body(client: httpx.AsyncClient) -> None:
    for path, status in (("/v2", 200), ("/v2/models/none", 404)):
        reply = await client.head(path)
        assert (reply.status_code, reply.content) == (status, b"")


@pytest.mark.parametrize(
    ("name", "value"), [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")]
)
async def test_a_body_of_another_kind(client: httpx.AsyncClient, name: str, value: str) -> None:
    reply = await client.post(URL, content=b"{}", headers={name: value})
    assert reply.status_code == 415
    assert value in error_of(reply)


async def test_a_body_that_is_too_large(config: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(config.model_copy(update={"max_body_bytes": 1024}))) as client:
        reply = await client.post(URL, content=b" " * 1025)
    assert reply.status_code == 413
    assert "larger than 1024 bytes" in error_of(reply)


async def test_rows_that_would_never_fit_into_the_queue(
    config: ServiceConfig, serve: Serve
) -> None:
    # A row has 44 bytes: 8 latents, a label, and a truncation.
    async with serve(create_app(config.model_copy(update={"queue_bytes": 1024}))) as client:
        for count, status in ((23, 200), (24, 413)):
            label = {"name": "label", "shape": [count], "datatype": "INT64", "data": [0] * count}
            for wish in ({"inputs": [label]}, {"parameters": {"num_images": count}}):
                reply = await client.post(URL, json=wish)
                assert reply.status_code == status, reply.text
        assert "at most 1024 may wait" in error_of(reply)


async def test_a_service_that_is_not_ready(config: ServiceConfig) -> None:
    app = create_app(config)  # its lifespan was not entered
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
            reply = await client.get(path)
            assert reply.status_code == 503
            assert "being loaded" in error_of(reply)
            assert int(reply.headers["retry-after"]) >= 1


async def test_a_service_that_stops(config: ServiceConfig, serve: Serve) -> None:
    app = create_app(config)
    async with serve(app) as client:
        app.state.stopping = True
        assert "shutting down" in error_of(await client.get("/v2/health/ready"))


async def test_a_model_in_trouble(
    config: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(create_app(config)) as client:
        monkeypatch.setattr(Model, "trouble", "has stopped: restart the service")
        reply = await client.get("/v2/models/tiny/ready")
        assert reply.status_code == 503
        assert error_of(reply) == "model tiny/1 has stopped: restart the service"
        [entry] = [
            each
            for each in (await client.post("/v2/repository/index")).json()
            if each["name"] == "tiny"
        ]
        assert entry["reason"] == "has stopped: restart the service"


# --- The queue. ---


@pytest.mark.parametrize(
    ("parameters", "headers"),
    [
        ({"timeout": 1}, {}),
        ({}, {"X-Request-Timeout": "0.000001"}),
        ({"timeout": 10**9}, {"X-Request-Timeout": "0.000001"}),
    ],
)
async def test_a_deadline_that_passes(
    client: httpx.AsyncClient, parameters: dict[str, int], headers: dict[str, str]
) -> None:
    reply = await client.post(URL, json={"parameters": parameters}, headers=headers)
    assert reply.status_code == 504
    assert "did not answer in time" in error_of(reply)
    assert int(reply.headers["retry-after"]) >= 1


async def test_a_timeout_of_zero_is_the_default(client: httpx.AsyncClient) -> None:
    assert (await client.post(URL, json={"parameters": {"timeout": 0}})).status_code == 200


async def test_a_timeout_has_64_bits(client: httpx.AsyncClient) -> None:
    longest = 2**64 - 1
    reply = await client.post(URL, json={"parameters": {"timeout": longest}})
    assert reply.status_code == 200
    for timeout in (longest + 1, 10**400):
        reply = await client.post(URL, json={"parameters": {"timeout": timeout}})
        assert reply.status_code == 400
        assert f"at most {longest}: send less" in error_of(reply)


async def test_a_timeout_that_is_no_number(client: httpx.AsyncClient) -> None:
    for value in ("soon", "0", "nan"):
        reply = await client.post(URL, json={}, headers={"X-Request-Timeout": value})
        assert reply.status_code == 400
        assert "X-Request-Timeout" in error_of(reply)


async def test_what_the_model_refuses(
    config: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(config)
    errors = (QueueFull, DeadlineUnmeetable, InferenceFailed, NotReady, DeadlineExceeded)
    async with serve(app) as client:
        model: Model = app.state.repository.get("tiny")
        [engine] = model.engines.values()
        for count, error in enumerate(errors, 1):

            def refuse(*_: object, error: type[ServiceError] = error) -> None:
                raise error("say what to change", retry_after_s=2.2)

            monkeypatch.setattr(engine, "admit", refuse)
            reply = await client.post(URL, json={})
            assert reply.status_code == error.status
            assert error_of(reply) == "say what to change"
            assert reply.headers["retry-after"] == "3"
            [stats] = (await client.get("/v2/models/tiny/stats")).json()["model_stats"]
            assert stats["inference_stats"]["fail"]["count"] == count
            assert (stats["inference_count"], stats["last_inference"]) == (0, 0)


async def test_priorities_are_the_other_routes(
    config: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(config)
    async with serve(app) as client:
        model: Model = app.state.repository.get("tiny")
        [engine] = model.engines.values()
        admitted, admit = [], engine.admit

        def note(rows: Rows, timeout_s: float, priority: Priority) -> float:
            admitted.append(priority)
            return admit(rows, timeout_s, priority)

        monkeypatch.setattr(engine, "admit", note)
        for priority in (0, 1, 2, 9):
            reply = await client.post(URL, json={"parameters": {"priority": priority}})
            assert reply.status_code == 200
        assert admitted == ["interactive", "interactive", "bulk", "bulk"]


async def test_work_for_a_client_that_went_away_is_cancelled(
    config: ServiceConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    held, metrics = await held_model(config), Metrics()
    app = create_app(config, cast(Repository, OneModel(held)), metrics)

    async def messages() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"{}"}
        await held.asked.wait()
        yield {"type": "http.disconnect"}

    assert await call(app, messages(), [], path=URL) == []
    assert held.cancelled.is_set()
    assert b"ganymede_cancellations_total 1.0" in metrics.expose()[0]
    assert [line["status"] for line in access_lines(caplog)] == [499]


async def test_a_failure_that_nobody_foresaw(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("service.routes.v2.describing.server", fail)
    reply = await client.get("/v2")
    assert reply.status_code == 500
    assert reply.headers["x-request-id"] in error_of(reply)


async def test_below_a_root_path(config: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(config.model_copy(update={"root_path": "/gan"}))) as client:
        for prefix in ("", "/gan"):
            assert (await client.get(f"{prefix}/v2/models/tiny/ready")).status_code == 200
            assert "no model" in error_of(await client.get(f"{prefix}/v2/models/none"))


async def test_requests_and_refusals_are_counted(config: ServiceConfig, serve: Serve) -> None:
    metrics = Metrics()
    async with serve(create_app(config, metrics=metrics)) as client:
        await client.post(URL, json={"parameters": {"num_images": 3}})
        await client.post(URL, json={"id": 1})
    value = metrics.registry.get_sample_value
    told = {"route": "/v2/models/{name}/infer", "model": "tiny"}
    assert value("ganymede_requests_total", told | {"status": "200"}) == 1
    assert value("ganymede_requests_total", told | {"status": "400"}) == 1
    assert value("ganymede_refusals_total", {"reason": "invalid"}) == 1
    assert value("ganymede_images_total", {"model": "tiny"}) == 3
    for phase in ("decode", "queue", "run", "encode"):
        labels = {"phase": phase, "model": "tiny"}
        assert value("ganymede_phase_seconds_count", labels) == 1
