"""Multipart replies leave image by image: what is sent when, and how they end early."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from email import message_from_bytes, policy
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.config import ServiceConfig
from service.metrics import Metrics
from service.model import Model
from service.rows import Rows
from tests.service.conftest import Serve
from tests.service.held import settle

pytestmark = pytest.mark.anyio

IMAGES = 12


@pytest.fixture
def narrow(config: ServiceConfig) -> ServiceConfig:
    """At most two images are computed at once, by one session."""
    return config.model_copy(update={"max_batch_rows": 2, "lanes": 1, "cache_bytes": 2**20})


class Client:
    """An ASGI client that counts the images computed so far at each message."""

    def __init__(self, app: FastAPI, metrics: Metrics, *, seed: int | None = 7) -> None:
        self.messages: list[MutableMapping[str, Any]] = []
        self.computed: list[float] = []
        self.gone = asyncio.Event()
        seeded = "" if seed is None else f', "seed": {seed}'
        self._body = f'{{"num_images": {IMAGES}{seeded}}}'.encode()
        self._app, self._metrics, self._sent = app, metrics, False

    async def receive(self) -> dict[str, Any]:
        if self._sent:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self._sent = True
        return {"type": "http.request", "body": self._body}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.messages.append(message)
        rows = self._metrics.registry.get_sample_value("ganymede_batch_rows_sum", {"model": "tiny"})
        self.computed.append(rows or 0)

    async def ask(self) -> None:
        headers = [(b"content-type", b"application/json"), (b"accept", b"multipart/mixed")]
        scope = {
            "type": "http", "method": "POST", "path": "/generate", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await self._app(scope, self.receive, self.send)
        await settle()  # it is counted and logged

    @property
    def reply(self) -> httpx.Response:
        start, *pieces = self.messages
        content = b"".join(piece.get("body", b"") for piece in pieces)
        return httpx.Response(start["status"], headers=start["headers"], content=content)


def files(reply: httpx.Response) -> list[bytes]:
    head = f"Content-Type: {reply.headers['content-type']}\r\n\r\n".encode()
    parsed = message_from_bytes(head + reply.content, policy=policy.HTTP)
    return [part.get_payload(decode=True) for part in parsed.iter_parts()]  # type: ignore[misc]


async def test_images_leave_before_the_last_is_computed(
    narrow: ServiceConfig, serve: Serve
) -> None:
    metrics = Metrics()
    app = create_app(narrow, metrics=metrics)
    async with serve(app) as client:
        streamed = Client(app, metrics)
        await streamed.ask()
        first_piece = next(k for k, sent in enumerate(streamed.messages) if sent.get("body"))
        assert streamed.computed[first_piece] < IMAGES
        assert len([sent for sent in streamed.messages if sent.get("body")]) == IMAGES // 2 + 1
        assert b"content-length" not in dict(streamed.messages[0]["headers"])
        again = await client.post(
            "/generate",
            json={"seed": 7, "num_images": IMAGES},
            headers={"Accept": "multipart/mixed"},
        )
        assert again.headers["server-timing"].endswith('cache;desc="hit"')
        assert again.content == streamed.reply.content
        assert again.headers["content-type"] == streamed.reply.headers["content-type"]
        assert len(files(again)) == 1 + IMAGES


async def test_a_refusal_before_the_first_image_is_a_problem(
    narrow: ServiceConfig, serve: Serve
) -> None:
    async with serve(create_app(narrow.model_copy(update={"queue_images": 3}))) as client:
        reply = await client.post(
            "/generate", json={"num_images": IMAGES}, headers={"Accept": "multipart/mixed"}
        )
        assert reply.status_code == 429
        assert reply.headers["content-type"] == "application/problem+json"


async def test_a_failure_after_the_first_image_breaks_the_connection(
    narrow: ServiceConfig,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    app = create_app(narrow, metrics=metrics)
    async with serve(app):
        session = _session(app.state.repository.get("tiny"))
        run = session.run

        async def fail_later(parts: list[Rows]) -> list[Rows]:
            if streamed.messages:
                raise ValueError("the device broke")
            await settle()
            return await run(parts)  # type: ignore[no-any-return]

        monkeypatch.setattr(session, "run", fail_later)
        streamed = Client(app, metrics, seed=None)
        with caplog.at_level("WARNING", "service.observe"):
            await streamed.ask()
        assert streamed.messages[0]["status"] == 200
        assert streamed.messages[-1]["more_body"]  # it never ended
        assert "the cause is in the log" in caplog.text
        assert "unexpected" not in caplog.text
        value = metrics.registry.get_sample_value
        told = {"route": "/generate", "model": "tiny"}
        assert value("ganymede_requests_total", told | {"status": "500"}) == 1
        assert value("ganymede_requests_total", told | {"status": "200"}) == 0
        assert value("ganymede_images_total", {"model": "tiny"}) == 0


async def test_what_nobody_waits_for_any_more_is_not_computed(
    narrow: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    app = create_app(narrow, metrics=metrics)
    async with serve(app):
        session = _session(app.state.repository.get("tiny"))
        run, held = session.run, asyncio.Event()

        async def hold(parts: list[Rows]) -> list[Rows]:
            if streamed.messages:
                streamed.gone.set()
                await held.wait()
            await settle()
            return await run(parts)  # type: ignore[no-any-return]

        monkeypatch.setattr(session, "run", hold)
        streamed = Client(app, metrics, seed=None)
        await streamed.ask()
        held.set()
        await settle()
        value = metrics.registry.get_sample_value
        assert value("ganymede_cancellations_total") == 1
        assert value("ganymede_withdrawn_rows_total", {"model": "tiny"}) == IMAGES - 8


def _session(model: Model) -> Any:  # noqa: ANN401
    [engine] = model.engines.values()
    [session] = engine._sessions.values()
    return session
