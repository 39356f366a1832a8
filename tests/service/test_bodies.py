"""Bodies that would cost more than they are: full of errors, or never ending."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import cast

import httpx
import pytest

from service.app import create_app
from service.config import ServiceConfig
from service.fields import ERRORS_SHOWN
from service.middleware import Message
from service.parsing import parse_body
from service.repository import Repository
from service.routes import pictures
from service.schemas import GenerateRequest
from tests.service.test_app import OneModel, call

pytestmark = pytest.mark.anyio

MANY = 100_000
REPLY_BYTES = 2**16
READERS = ("/generate", "/translate", "/encode", "/score")

HUGE = {
    "labels that are none": {"label": [True] * MANY},
    "labels that the model lacks": {"label": [f"lab {k}" for k in range(MANY)]},
    "unknown fields": {f"truncatio{k}": 1 for k in range(MANY)},
    "unknown fields below": {
        "interpolate": {"from": 1, "to": 2, "steps": 3} | {f"step{k}": 1 for k in range(MANY)}
    },
    "a long name": {"n" * 20 * MANY: 1},
    "a long name below": {"interpolate": {"from": 1, "to": 2, "steps": 3, "n" * 20 * MANY: 1}},
    "latents that are none": {"latents": [True] * MANY},
}


@pytest.mark.parametrize("kind", HUGE)
async def test_a_body_full_of_errors_has_a_short_refusal(
    client: httpx.AsyncClient, kind: str
) -> None:
    reply = await client.post("/generate", json=HUGE[kind])
    assert reply.status_code == 422
    assert len(reply.content) < REPLY_BYTES
    assert 1 <= len(reply.json()["errors"]) <= ERRORS_SHOWN


@pytest.mark.parametrize("name", ["k{}", "seed", "label"])
async def test_a_query_full_of_errors_has_a_short_refusal(
    client: httpx.AsyncClient, name: str
) -> None:
    query = "&".join(f"{name.format(k)}=x" for k in range(5000))
    reply = await client.get(f"/generate/tiny.png?{query}")
    assert reply.status_code == 422
    assert len(reply.content) < REPLY_BYTES
    assert len(reply.json()["errors"]) <= ERRORS_SHOWN


async def test_more_errors_than_are_told_are_mentioned(client: httpx.AsyncClient) -> None:
    problem = (await client.post("/generate", json={f"k{k}": 1 for k in range(30)})).json()
    assert len(problem["errors"]) == ERRORS_SHOWN
    assert problem["detail"].endswith(f"no more than {ERRORS_SHOWN} are told at once")


async def test_others_are_answered_while_a_large_body_is_read(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered = threading.Event(), threading.Event()

    def held(body: bytes) -> GenerateRequest:
        begun.set()
        assert answered.wait(30), "nobody else was answered"
        return parse_body(body)

    monkeypatch.setattr(pictures, "parse_body", held)
    large = asyncio.create_task(client.post("/generate", json=HUGE["unknown fields"]))
    await asyncio.to_thread(begun.wait, 30)
    assert (await client.get("/health/live")).status_code == 200
    assert not large.done()
    answered.set()
    assert (await large).status_code == 422


@pytest.mark.parametrize("path", READERS)
async def test_a_body_that_does_not_arrive_is_cut_off(config: ServiceConfig, path: str) -> None:
    async def body() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"{", "more_body": True}
        await asyncio.Event().wait()

    open_door = cast(Repository, OneModel(None))
    app = create_app(config.model_copy(update={"timeout_s": 0.1}), open_door)
    start, content = await call(app, body(), [], path=path)
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    problem = json.loads(content["body"])
    assert problem["type"] == "urn:ganymede:problem:RequestTimeout"
    assert "the body did not arrive within 0.1 s" in problem["detail"]


@pytest.mark.parametrize("path", READERS)
async def test_a_content_type_that_came_twice_is_refused(
    client: httpx.AsyncClient, path: str
) -> None:
    headers = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    reply = await client.post(path, content=b"{}", headers=headers)
    assert reply.status_code == 415


@pytest.mark.parametrize("path", READERS)
async def test_json_in_another_charset_is_refused(client: httpx.AsyncClient, path: str) -> None:
    headers = {"Content-Type": "application/json; charset=latin-1"}
    reply = await client.post(path, content=b"{}", headers=headers)
    assert reply.status_code == 415
    assert "send JSON in UTF-8" in reply.json()["detail"]
