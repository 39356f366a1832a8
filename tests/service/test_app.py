"""What surrounds every request: ids, limits, logs, metrics, cancellation; and the small routes."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from export.bundle import write_manifest
from export.manifest import Diagnosis, Quality
from service.app import create_app
from service.catalogue import Catalogue
from service.config import ServiceConfig
from service.listening import listen
from service.logs import configure
from service.metrics import Metrics
from service.middleware import Message
from service.model import Model
from service.repository import Repository
from service.server import Server
from service.threads import usable_cores
from tests.service.conftest import Serve, access_lines
from tests.service.held import settle
from tests.tiny import LATENT, tiny_bundle

pytestmark = pytest.mark.anyio

PATIENCE_S = 20  # with what should take milliseconds; a test that hangs says nothing


# --- Request ids. ---


@pytest.mark.parametrize("given", ["a", "9e107d9d372bb6826bd81d3542a419d6", "a-B_c.1/2:3=+@"])
async def test_a_request_id_is_echoed(client: httpx.AsyncClient, given: str) -> None:
    reply = await client.get("/health/live", headers={"X-Request-Id": given})
    assert reply.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "<script>", "a,b"])
async def test_an_unfit_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    first, second = [
        (await client.get("/nothing", headers={"X-Request-Id": given})).headers["x-request-id"]
        for _ in range(2)
    ]
    assert len({first, second, given}) == 3


# --- Body limit, without reading what is too large. ---


async def call(
    app: FastAPI,
    messages: AsyncIterator[Message],
    headers: list[tuple[bytes, bytes]],
    sent: list[Message] | None = None,
    path: str = "/generate",
) -> list[Message]:
    """POST with hand-made ASGI messages; what was sent back."""
    sent = [] if sent is None else sent

    async def receive() -> Message:
        return await anext(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    async with asyncio.timeout(PATIENCE_S):
        await app(scope, receive, send)
    await settle()  # it is counted and logged
    return sent


async def test_a_declared_length_above_the_limit_is_refused_unread(config: ServiceConfig) -> None:
    async def body() -> AsyncIterator[Message]:
        raise AssertionError("the body was read")
        yield {}

    app = create_app(config)
    for declared in (b"20971521", b"9" * 5000):
        start, *_ = await call(app, body(), [(b"content-length", declared)])
        assert start["status"] == 413


async def test_a_chunked_body_is_read_no_further_than_the_limit(config: ServiceConfig) -> None:
    read_bytes = 0

    async def body() -> AsyncIterator[Message]:
        nonlocal read_bytes
        for _ in range(40):
            read_bytes += 2**20
            yield {"type": "http.request", "body": b" " * 2**20, "more_body": True}
        raise AssertionError("everything was read")

    open_door = cast(Repository, OneModel(None))
    start, *_ = await call(create_app(config, open_door), body(), [])
    assert start["status"] == 413
    assert read_bytes == config.max_body_bytes + 2**20


async def test_a_body_at_the_limit_is_read(config: ServiceConfig, serve: Serve) -> None:
    body = b'{"seed": 1}'.ljust(2048)
    limited = config.model_copy(update={"max_body_bytes": 2048})
    async with serve(create_app(limited)) as client:
        for content, status in ((body, 200), (body + b" ", 413)):
            reply = await client.post(
                "/generate", content=content, headers={"Content-Type": "application/json"}
            )
            assert reply.status_code == status


async def test_a_body_that_nobody_reads_is_nobodys_concern(
    config: ServiceConfig, serve: Serve
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 1024

    async with serve(create_app(config.model_copy(update={"max_body_bytes": 2048}))) as client:
        reply = await client.request("GET", "/generate/tiny.png?seed=1", content=chunks())
    assert reply.status_code == 200


# --- Clients that go away. ---


class HeldModel:
    """A model that never answers, and notes when it is asked and when it need not any more."""

    def __init__(self, model: Model) -> None:
        self.bundle, self.manifest, self.digest = model.bundle, model.manifest, model.digest
        self.asked, self.cancelled = asyncio.Event(), asyncio.Event()

    @property
    def engines(self) -> dict[str, Any]:
        """Idle, as the door sees them."""
        idle = SimpleNamespace(trouble=None, batcher=SimpleNamespace(waiting_rows=0))
        return dict.fromkeys(self.manifest.graphs, idle)

    async def infer(self, *_: object, **__: object) -> None:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class OneModel:
    """A repository with one model, which no layer before the routes finds."""

    catalogue = Catalogue(None)

    def __init__(self, model: object) -> None:
        self._model = model

    def require_started(self) -> None: ...

    def get(self, *_: object) -> object:
        return self._model


async def held_model(config: ServiceConfig) -> HeldModel:
    repository = Repository(config, Metrics())
    await repository.start()
    held = HeldModel(repository.get("tiny"))
    await repository.close()
    return held


async def test_work_for_a_client_that_went_away_is_cancelled(
    config: ServiceConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    held, metrics = await held_model(config), Metrics()
    app = create_app(config, cast(Repository, OneModel(held)), metrics)

    async def messages() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b'{"seed"', "more_body": True}
        yield {"type": "http.request", "body": b": 1}"}
        async with asyncio.timeout(PATIENCE_S):
            await held.asked.wait()
        yield {"type": "http.disconnect"}

    assert await call(app, messages(), []) == []
    assert held.cancelled.is_set()
    assert b"ganymede_cancellations_total 1.0" in metrics.expose()[0]
    assert [line["status"] for line in access_lines(caplog)] == [499]


async def test_a_closed_connection_cancels_the_work(config: ServiceConfig) -> None:
    held, metrics = await held_model(config), Metrics()
    app = create_app(config, cast(Repository, OneModel(held)), metrics)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    with listen("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        _, writer = await asyncio.open_connection(*listener.getsockname())
        # Plain HTTP/1.1 with keep-alive: nothing but the closed connection tells.
        head = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(head + b"Content-Length: 2\r\n\r\n{}")
        async with asyncio.timeout(PATIENCE_S):
            await held.asked.wait()
            writer.close()
            await held.cancelled.wait()
        server.should_exit = True
        await serving
    assert b"ganymede_cancellations_total 1.0" in metrics.expose()[0]


async def test_a_client_that_goes_away_while_it_sends_is_let_go(config: ServiceConfig) -> None:
    async def messages() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b'{"seed"', "more_body": True}
        yield {"type": "http.disconnect"}

    open_door, metrics = cast(Repository, OneModel(None)), Metrics()
    assert await call(create_app(config, open_door, metrics), messages(), []) == []
    assert b"ganymede_cancellations_total 1.0" in metrics.expose()[0]


async def test_a_server_that_stops_cancels_without_blaming_the_client(
    config: ServiceConfig,
) -> None:
    held, metrics = await held_model(config), Metrics()
    app = create_app(config, cast(Repository, OneModel(held)), metrics)

    async def messages() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"{}"}
        await asyncio.Event().wait()

    sent: list[Message] = []
    request = asyncio.create_task(call(app, messages(), [], sent))
    async with asyncio.timeout(PATIENCE_S):
        await held.asked.wait()
    request.cancel()
    await request  # raised, it would be logged with a traceback, though a reply was sent
    assert held.cancelled.is_set()
    assert sent[0]["status"] == 503
    assert b"ganymede_cancellations_total 0.0" in metrics.expose()[0]


# --- Logs and metrics. ---


async def test_each_request_is_one_line_with_its_phases(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    reply = await client.post("/generate", json={"seed": 1, "num_images": 3})
    [line] = access_lines(caplog)
    assert line["request_id"] == reply.headers["x-request-id"]
    told = {key: line[key] for key in ("method", "path", "status", "model", "version", "images")}
    assert told == {
        "method": "POST",
        "path": "/generate",
        "status": 200,
        "model": "tiny",
        "version": 1,
        "images": 3,
    }
    assert line["sent_bytes"] == len(reply.content)
    phases = [line[f"{phase}_s"] for phase in ("decode", "queue", "run", "encode")]
    assert 0 < sum(phases) <= line["seconds"]


async def test_refusals_are_one_line_too(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    await client.get("/nothing")
    assert [line["status"] for line in access_lines(caplog)] == [404]


def test_log_lines_are_json_whatever_is_logged() -> None:
    stream = io.StringIO()
    root, own = logging.getLogger(), logging.getLogger("test")
    handlers, level = root.handlers[:], root.level
    try:
        configure("info", stream)
        own.info("a\nb %s", "ü", extra={"path": object})
        try:
            raise ValueError("x")
        except ValueError:
            own.exception("failed")
    finally:
        root.handlers[:], root.level = handlers, level
        logging.getLogger("uvicorn.access").disabled = False
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["message"] == "a\nb ü"
    assert "ValueError: x" in second["exception"]


async def test_requests_phases_images_and_refusals_are_counted(
    config: ServiceConfig, serve: Serve
) -> None:
    async with serve(create_app(config)) as client:
        await client.post("/generate", json={"seed": 1, "num_images": 3})
        await client.post("/generate", json={"seed": -1})
        etag = (await client.get("/generate/tiny.png?seed=1")).headers["etag"]
        await client.get("/generate/tiny.png?seed=1", headers={"If-None-Match": etag})
        await client.get("/anything/at/all")
        lines = (await client.get("/metrics")).text.splitlines()
    counted = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    generate, file = 'route="/generate"', 'route="/generate/{file}"'
    for series, value in {
        f'requests_total{{model="tiny",{generate},status="200"}}': 1,
        f'requests_total{{model="",{generate},status="422"}}': 1,
        f'requests_total{{model="tiny",{file},status="200"}}': 1,
        'requests_total{model="",route="unknown",status="404"}': 1,
        f'request_seconds_count{{model="tiny",{generate}}}': 1,
        f'request_seconds_count{{model="tiny",{file}}}': 1,
        'phase_seconds_count{model="tiny",phase="decode"}': 2,
        'phase_seconds_count{model="tiny",phase="queue"}': 2,
        'phase_seconds_count{model="tiny",phase="run"}': 2,
        'phase_seconds_count{model="tiny",phase="encode"}': 2,
        'images_total{model="tiny"}': 4,
        'refusals_total{reason="invalid"}': 2,
    }.items():
        assert float(counted[f"ganymede_{series}"]) == value
    assert f'ganymede_request_seconds_count{{model="",{generate}}}' not in counted  # refused


# --- Small routes. ---


async def test_models_are_listed_with_what_a_form_needs(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/models")).json()
    colour, tiny = listed["models"]
    assert listed["limits"]["max_images"] == 64
    assert (colour["name"], colour["version"], colour["versions"]) == ("colour", 2, [1, 2])
    assert (colour["default"], tiny["default"]) == (False, True)
    assert colour["classes"] == ["Ankle boot", "größe"]
    assert tiny["scalars"] == {"truncation": {"low": 0.0, "high": 1.0, "default": 1.0}}
    assert (await client.get(tiny["preview"])).headers["content-type"] == "image/png"


async def test_a_model_page_has_its_manifest(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/models/colour")).json()
    assert shown["manifest"]["version"] == 2
    assert shown["versions"] == [1, 2]
    assert shown["ready"]


async def test_a_model_page_has_the_diagnosis(tmp_path: Path, serve: Serve) -> None:
    bundle = tiny_bundle(tmp_path)
    found = {
        "diagnosis": Diagnosis(verdict="mode collapse", detail="never made: star"),
        "quality": (Quality(metric="missing_share", value=0.4, samples=1000, protocol="kinds"),),
    }
    write_manifest(bundle.path, bundle.manifest.model_copy(update=found))
    async with serve(create_app(ServiceConfig(models=(tmp_path,)))) as client:
        manifest = (await client.get("/models/tiny")).json()["manifest"]
    assert manifest["diagnosis"] == {"verdict": "mode collapse", "detail": "never made: star"}
    assert (manifest["quality"][0]["metric"], manifest["quality"][0]["value"]) == (
        "missing_share",
        0.4,
    )


async def test_a_model_page_can_be_pinned_to_a_version(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/models/colour?version=1")).json()
    assert (shown["version"], shown["manifest"]["version"]) == (1, 1)
    assert shown["versions"] == [1, 2]
    assert "version=1" in shown["preview"]


async def test_a_model_page_tells_what_a_run_costs(client: httpx.AsyncClient) -> None:
    schedule = (await client.get("/models/tiny")).json()["schedule"]["generate"]
    assert schedule["lanes"] * schedule["threads"] <= usable_cores()
    assert (schedule["cudnn_search"], schedule["cuda_graphs"]) == (None, False)
    measured = {(cost["lanes"], cost["threads"]) for cost in schedule["costs"]}
    assert (schedule["lanes"], schedule["threads"]) in measured
    for cost in schedule["costs"]:
        assert cost["row_elements"] == LATENT + 2  # and the label and the truncation
        assert cost["seconds"] > 0
    assert schedule["max_batch_rows"] in {cost["rows"] for cost in schedule["costs"]}
    assert schedule["alone_rows"] <= schedule["max_batch_rows"]


async def test_a_preview_is_the_bundles_own_file(config: ServiceConfig, serve: Serve) -> None:
    app = create_app(config)
    async with serve(app) as client:
        bundle = app.state.repository.get("tiny").bundle
        (bundle.path / "preview.png").write_bytes(b"a picture")
        shown = bundle.manifest.model_copy(update={"preview": "preview.png"})
        object.__setattr__(bundle, "manifest", shown)
        reply = await client.get("/models/tiny/preview.png")
        assert (reply.content, reply.headers["content-type"]) == (b"a picture", "image/png")
        for known in (reply.headers["etag"], f"W/{reply.headers['etag']}", "*"):
            again = await client.get("/models/tiny/preview.png", headers={"If-None-Match": known})
            assert again.status_code == 304
        part = {"If-None-Match": reply.headers["etag"] + 'x"'}
        assert (await client.get("/models/tiny/preview.png", headers=part)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/models", "/models/tiny", "/health/live", "/health/ready", "/metrics"]
)
async def test_head_is_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    got, reply = await client.get(path), await client.head(path)
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-type"] == got.headers["content-type"]


async def test_cors_is_off_unless_origins_are_configured(
    client: httpx.AsyncClient, config: ServiceConfig, serve: Serve
) -> None:
    origin = {"Origin": "https://shop.example"}
    assert (
        "access-control-allow-origin" not in (await client.get("/models", headers=origin)).headers
    )
    open_config = config.model_copy(update={"cors_origins": ("https://shop.example",)})
    async with serve(create_app(open_config)) as other:
        for path, status in (("/models", 200), ("/nothing", 404)):
            reply = await other.get(path, headers=origin)
            assert reply.status_code == status
            assert reply.headers["access-control-allow-origin"] == "https://shop.example"
        preflight = origin | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        assert (await other.options("/generate", headers=preflight)).status_code == 200
        stranger = await other.get("/models", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers


async def test_the_models_are_closed_when_the_service_ends(
    config: ServiceConfig, serve: Serve
) -> None:
    app = create_app(config)
    async with serve(app) as client:
        model = app.state.repository.get("tiny")
        assert (await client.get("/health/ready")).status_code == 200
    assert not app.state.repository.ready
    assert not model.alive


def test_a_signal_takes_readiness_away_at_once(config: ServiceConfig) -> None:
    server = Server(config)
    assert not server.config.app.state.stopping  # type: ignore[union-attr]
    server.handle_exit(signal.SIGTERM, None)
    assert server.config.app.state.stopping  # type: ignore[union-attr]
    assert server.should_exit


async def test_a_root_path_is_in_every_link(config: ServiceConfig, serve: Serve) -> None:
    behind = config.model_copy(update={"root_path": "/gan"})
    async with serve(create_app(behind)) as client:
        # A proxy may strip the prefix, or leave it on.
        for prefix in ("", "/gan"):
            assert '<base href="/gan/">' in (await client.get(f"{prefix}/")).text
            assert (await client.get(f"{prefix}/static/page.js")).status_code == 200
            cards: list[dict[str, Any]] = (await client.get(f"{prefix}/models")).json()["models"]
            assert all(card["preview"].startswith("/gan/") for card in cards)
            servers = (await client.get(f"{prefix}/openapi.json")).json()["servers"]
            assert servers == [{"url": "/gan"}]
