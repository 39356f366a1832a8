"""The service in the test's own process, and a client of it that needs no socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.config import ServiceConfig
from service.logs import JsonLines
from tests.service.held import settle
from tests.tiny import tiny_bundle

Serve = Callable[[FastAPI], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


class Transport(httpx.ASGITransport):
    """Lets each request be counted and logged before its reply is looked at."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx says."""
        try:
            return await super().handle_async_request(request)
        finally:
            await settle()


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the started application."""
    transport = Transport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        await app.state.starting
        yield client


def access_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the log says of each request so far."""
    records = [record for record in caplog.records if record.name == "service.access"]
    lines = [line for record in records for line in JsonLines().format(record).splitlines()]
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def serve() -> Serve:
    return serving


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: one in grey, and two versions of one in colour."""
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder, name="tiny")
    tiny_bundle(folder, name="colour", classes=("Ankle boot", "größe"), channels=3, size=16)
    tiny_bundle(
        folder, name="colour", version=2, classes=("Ankle boot", "größe"), channels=3, salt=1
    )
    return folder


@pytest.fixture(scope="module")
def config(models: Path) -> ServiceConfig:
    # No cache: what is asked for again is made again, so that "the same" means something.
    return ServiceConfig(models=(models,), default_model="tiny", watch_s=0, cache_bytes=0)


@pytest.fixture(scope="module")
async def client(config: ServiceConfig) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with the models of ``models``, shared by the tests of a file."""
    async with serving(create_app(config)) as client:
        yield client
