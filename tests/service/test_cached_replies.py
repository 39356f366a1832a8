"""Replies that are sent again: the same as new ones, cheaper, and never another request's fault."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from service.app import create_app
from service.catalogue import Catalogue
from service.config import ServiceConfig
from service.errors import InferenceFailed
from service.metrics import Metrics
from service.model import Answer, Model
from service.repository import Repository
from tests.service.conftest import Serve, access_lines
from tests.service.held import Hold, settle
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.anyio

ACCEPTS = (
    "application/json",
    "image/png",
    "image/jpeg",
    "image/webp",
    "application/x-npy",
    "application/zip",
    "multipart/mixed",
)
OWN_HEADERS = {"server-timing", "x-request-id", "date", "content-length"}


@pytest.fixture
def cached(config: ServiceConfig) -> ServiceConfig:
    return config.model_copy(update={"cache_bytes": 2**20})


async def post(client: httpx.AsyncClient, accept: str = "*/*", **body: object) -> httpx.Response:
    return await client.post("/generate", json=body, headers={"Accept": accept})


def series(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def results(metrics: Metrics) -> dict[str, float]:
    """How many lookups ended in which way."""
    told = ("hit", "shared", "miss")
    return {each: series(metrics, "ganymede_cache_requests_total", result=each) for each in told}


def without_times(reply: httpx.Response) -> tuple[dict[str, str], Any]:
    """What two replies to one request have in common."""
    headers = {name: value for name, value in reply.headers.items() if name not in OWN_HEADERS}
    if reply.headers["content-type"] != "application/json":
        return headers, reply.content
    return headers, reply.json() | {"timing": None}


# --- The same as new. ---


async def test_replies_are_the_same_with_and_without_the_cache(
    config: ServiceConfig, cached: ServiceConfig, serve: Serve
) -> None:
    bodies: list[dict[str, Any]] = [
        {"seed": 5},
        {"seed": 5, "num_images": 3},
        {"seed": 5, "model": "colour", "label": "größe"},
        {"seed": 5, "truncation": 0.5, "label": ["star", 0], "num_images": 2},
        {"interpolate": {"from": 1, "to": 2, "steps": 3}},
        {"seed": 5, "latents": [[0.5] * 8]},
    ]
    metrics = Metrics()
    async with (
        serve(create_app(config)) as plain,
        serve(create_app(cached, metrics=metrics)) as keeping,
    ):
        for accept in ACCEPTS:
            for body in bodies:
                new, first, again = [
                    await post(client, accept, **body) for client in (plain, keeping, keeping)
                ]
                assert new.status_code == 200
                assert without_times(new) == without_times(first) == without_times(again)
    count = len(ACCEPTS) * len(bodies)
    assert results(metrics) == {"hit": count, "shared": 0, "miss": count}


async def test_a_hit_runs_nothing_and_says_so(
    cached: ServiceConfig, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    metrics = Metrics()
    async with serve(create_app(cached, metrics=metrics)) as client:
        first = await post(client, seed=7, num_images=2)
        rows = series(metrics, "ganymede_batch_rows_sum", model="tiny")
        body = {"seed": 7, "num_images": 2}
        again = await client.post("/generate", json=body, headers={"X-Request-Id": "mine"})
    assert series(metrics, "ganymede_batch_rows_sum", model="tiny") == rows
    assert first.json()["timing"]["cached"] is False
    timing = again.json()["timing"]
    assert timing == {"queue_s": 0, "run_s": 0, "encode_s": 0, "cached": True}
    assert again.headers["x-request-id"] == "mine"
    assert [line.get("cache") for line in access_lines(caplog)] == [None, "hit"]
    assert again.headers["etag"] == first.headers["etag"]
    assert re.fullmatch(r'decode;dur=\d+\.\d+, cache;desc="hit"', again.headers["server-timing"])
    assert series(metrics, "ganymede_images_total", model="tiny") == 4  # both were sent
    for phase in ("queue", "run", "encode"):
        labels = {"phase": phase, "model": "tiny"}
        assert series(metrics, "ganymede_phase_seconds_count", **labels) == 1


async def test_a_plain_url_and_a_post_share_a_reply(cached: ServiceConfig, serve: Serve) -> None:
    metrics = Metrics()
    async with serve(create_app(cached, metrics=metrics)) as client:
        posted = await post(client, "image/png", seed=7)
        got = await client.get("/generate/tiny.png?seed=7")
    assert got.content == posted.content
    assert got.headers["cache-control"] != posted.headers["cache-control"]
    assert results(metrics) == {"hit": 1, "shared": 0, "miss": 1}


async def test_without_a_seed_nothing_is_kept(cached: ServiceConfig, serve: Serve) -> None:
    metrics = Metrics()
    async with serve(create_app(cached, metrics=metrics)) as client:
        first, second = [await post(client) for _ in range(2)]
    assert first.json()["images"] != second.json()["images"]
    assert "cache" not in second.headers["server-timing"]
    assert sum(results(metrics).values()) == series(metrics, "ganymede_cache_bytes") == 0


async def test_off_everything_is_made_anew(config: ServiceConfig, serve: Serve) -> None:
    metrics = Metrics()
    async with serve(create_app(config, metrics=metrics)) as client:
        first, second = [await post(client, seed=7) for _ in range(2)]
    assert series(metrics, "ganymede_batch_rows_sum", model="tiny") == 2
    assert second.json()["timing"]["cached"] is False
    assert without_times(first) == without_times(second)
    assert series(metrics, "ganymede_cache_limit_bytes") == 0


async def test_what_is_kept_is_counted_and_bounded(config: ServiceConfig, serve: Serve) -> None:
    metrics, limit_bytes = Metrics(), 4000
    small = config.model_copy(update={"cache_bytes": limit_bytes})
    async with serve(create_app(small, metrics=metrics)) as client:
        for seed in range(20):
            await post(client, seed=seed)
            assert 0 < series(metrics, "ganymede_cache_bytes") <= limit_bytes
    assert series(metrics, "ganymede_cache_limit_bytes") == limit_bytes


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"label": 1},
        {"truncation": 0.5},
        {"num_images": 2},
        {"version": 1},
        {"model": "tiny"},
        {"format": "webp"},
        {"format": "jpeg"},
        {"format": "jpeg", "quality": 50},
    ],
)
async def test_another_request_is_another_reply(
    cached: ServiceConfig, serve: Serve, change: dict[str, Any]
) -> None:
    base: dict[str, Any] = {"seed": 7, "model": "colour", "label": 0}
    async with serve(create_app(cached)) as client:
        await post(client, **base)
        await post(client, **base, format="jpeg", quality=51)
        assert (await post(client, **base | change)).json()["timing"]["cached"] is False


async def test_a_new_version_is_not_answered_by_the_old(
    cached: ServiceConfig, serve: Serve, tmp_path: Path
) -> None:
    tiny_bundle(tmp_path)
    repository = Repository(cached.model_copy(update={"models": (tmp_path,)}), Metrics())
    async with serve(create_app(cached, repository)) as client:
        old = await post(client, seed=7)
        tiny_bundle(tmp_path, version=2, salt=1)
        await repository.refresh()
        new, pinned = await post(client, seed=7), await post(client, seed=7, version=1)
    assert (old.json()["version"], new.json()["version"]) == (1, 2)
    assert new.json()["images"] != old.json()["images"]
    assert without_times(pinned)[1] == without_times(old)[1]


# --- Several at once. ---


class HeldModel:
    """A model whose inferences wait, each for its gate; ``True`` lets one run, else it fails."""

    def __init__(self, model: Model) -> None:
        self.bundle, self.manifest, self.digest = model.bundle, model.manifest, model.digest
        self._model = model
        self.gates: list[asyncio.Future[bool]] = []

    async def infer(self, *asked: Any, **more: Any) -> Answer:  # noqa: ANN401
        self.gates.append(gate := asyncio.get_running_loop().create_future())
        if not await gate:
            raise InferenceFailed("as the test says")
        return await self._model.infer(*asked, **more)


class OneModel:
    """A repository with one model, which no layer before the routes finds."""

    catalogue = Catalogue(None)

    def __init__(self, model: HeldModel) -> None:
        self._model = model

    def require_started(self) -> None: ...

    def get(self, *_: object) -> HeldModel:
        return self._model


Attempt = asyncio.Task[httpx.Response]


@asynccontextmanager
async def holding(
    config: ServiceConfig, metrics: Metrics
) -> AsyncIterator[tuple[HeldModel, Callable[[], Attempt]]]:
    """A model that waits, and how to ask it once more for the same."""
    repository = Repository(config, Metrics())
    await repository.start()
    held = HeldModel(repository.get("tiny"))
    app = create_app(config, cast(Repository, OneModel(held)), metrics)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield held, lambda: asyncio.create_task(post(client, seed=7, label="star"))
    await repository.close()


async def asked(held: HeldModel, count: int) -> None:
    """Wait until the model was asked so often."""
    async with asyncio.timeout(20):
        while len(held.gates) < count:
            await settle()


async def test_the_same_asked_at_once_is_inferred_once(cached: ServiceConfig) -> None:
    metrics = Metrics()
    async with holding(cached, metrics) as (held, ask):
        attempts = [ask() for _ in range(5)]
        await asked(held, 1)
        await settle()
        held.gates[0].set_result(True)
        replies = await asyncio.gather(*attempts)
    assert len(held.gates) == 1
    documents = [reply.json() for reply in replies]
    assert [each["timing"]["cached"] for each in documents] == [False] + [True] * 4
    assert len({json.dumps(each["images"]) for each in documents}) == 1
    assert len({reply.headers["x-request-id"] for reply in replies}) == 5
    for reply in replies[1:]:
        assert reply.json()["timing"]["run_s"] == 0
        assert 'cache;desc="shared"' in reply.headers["server-timing"]
    assert results(metrics) == {"hit": 0, "shared": 4, "miss": 1}


async def test_a_failure_is_answered_to_one_request_only(cached: ServiceConfig) -> None:
    async with holding(cached, Metrics()) as (held, ask):
        attempts = [ask() for _ in range(3)]
        await asked(held, 1)
        await settle()
        held.gates[0].set_result(False)
        await asked(held, 2)
        held.gates[1].set_result(True)
        replies = await asyncio.gather(*attempts)
        again = await ask()
    assert [reply.status_code for reply in replies] == [500, 200, 200]
    assert [reply.json()["timing"]["cached"] for reply in replies[1:]] == [False, True]
    assert again.json()["timing"]["cached"] is True
    assert len(held.gates) == 2


async def test_a_client_that_goes_away_takes_nobody_with_it(cached: ServiceConfig) -> None:
    async with holding(cached, Metrics()) as (held, ask):
        first, second = ask(), ask()
        await asked(held, 1)
        await settle()
        first.cancel()
        await asked(held, 2)
        assert held.gates[0].cancelled()
        held.gates[1].set_result(True)
        assert (await second).json()["timing"]["cached"] is False


async def test_a_deadline_holds_while_another_request_is_waited_for(
    cached: ServiceConfig,
) -> None:
    hurried = cached.model_copy(update={"timeout_s": 0.02})
    async with holding(hurried, Metrics()) as (held, ask):
        first = ask()
        await asked(held, 1)  # and the model keeps it, past every deadline
        late = await ask()
        assert not first.done()
        first.cancel()
    assert late.status_code == 504
    assert "another request" in late.json()["detail"]
    assert late.headers["retry-after"] == "1"


async def test_a_leader_in_a_hurry_does_not_hurry_those_who_wait_for_it(
    cached: ServiceConfig, serve: Serve
) -> None:
    app = create_app(cached.model_copy(update={"lanes": 1}))
    async with serve(app) as client, Hold(app.state.repository.get("tiny")) as hold:
        leader = asyncio.create_task(post(client, seed=7, label="star", timeout_s=0.02))
        await settle()
        followers = [
            asyncio.create_task(post(client, seed=7, label="star", timeout_s=30)) for _ in range(3)
        ]
        assert (await leader).status_code == 504
        await settle()
        assert not any(follower.done() for follower in followers)
        hold.released.set()
        replies = await asyncio.gather(*followers)
    assert [reply.status_code for reply in replies] == [200] * 3
    assert [reply.json()["timing"]["cached"] for reply in replies] == [False, True, True]
    assert replies[0].json()["timing"]["queue_s"] > 0  # what it waited for the leader counts


async def test_what_bulk_made_is_there_for_others(cached: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(cached)) as client:
        made = await client.post("/generate", json={"seed": 77, "priority": "bulk"})
        again = await client.post("/generate", json={"seed": 77})
        assert again.json()["timing"]["cached"]
        assert again.json()["images"] == made.json()["images"]
