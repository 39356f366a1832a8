"""What ends is freed at once: left to the garbage collector, it stops everything under overload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

from service import middleware, png
from service.app import create_app
from service.batcher import Batcher, Expired
from service.config import ServiceConfig
from tests.service.conftest import Serve
from tests.service.garbage import nothing_left
from tests.service.held import Clock, Device, Hold, settle
from tests.tiny import tiny_bundle
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio


@dataclass
class Asked:
    """A request, as ASGI has it; a client can go away."""

    body: bytes = b"{}"
    path: str = "/generate"
    query: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    read: bool = False

    async def receive(self) -> dict[str, Any]:
        if self.read:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self.read = True
        return {"type": "http.request", "body": self.body}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)

    async def of(self, app: FastAPI) -> int:
        told = {"content-type": "application/json"} | self.headers
        scope = {
            "type": "http", "method": "POST", "path": self.path, "query_string": self.query,
            "headers": [(name.encode(), value.encode()) for name, value in told.items()],
            "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await app(scope, self.receive, self.send)
        await settle()  # it is counted and logged
        return self.status


@pytest.fixture
def narrow(tmp_path: Path) -> ServiceConfig:
    """One image runs, one is handed over ahead, one waits, and that is all."""
    tiny_bundle(tmp_path, name="tiny")
    return ServiceConfig(
        models=(tmp_path,),
        lanes=1,
        max_batch_rows=1,
        queue_images=1,
        max_images=1,
        watch_s=0,
    )


PICTURE = png.encode_all(np.zeros((1, 16, 16, 3), np.uint8))[0]
PNG = {"content-type": "image/png"}


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (200, Asked()),
        (200, Asked(b'{"seed": 1}')),
        (200, Asked(b'{"num_images": 3}', headers={"accept": "multipart/mixed"})),
        (400, Asked(b"{")),
        (404, Asked(b'{"model": "nobody"}')),
        (404, Asked(path="/nothing")),
        (406, Asked(headers={"accept": "text/plain"})),
        (413, Asked(headers={"content-length": "1" + 12 * "0"})),
        (415, Asked(headers={"content-type": "text/plain"})),
        (422, Asked(b'{"num_images": "x"}')),
        (422, Asked(b'{"num_images": 99999}')),
        (200, Asked(PICTURE, "/translate", b"model=painter", PNG)),
        (415, Asked(b"no picture", "/translate", b"model=painter", PNG)),
    ],
    ids=lambda each: f"{each.path} {each.body!r:.30}" if isinstance(each, Asked) else str(each),
)
async def test_an_answer_leaves_nothing(
    tmp_path: Path, serve: Serve, status: int, asked: Asked
) -> None:
    tiny_bundle(tmp_path, name="tiny")
    picture_bundle(tmp_path, name="painter")
    app = create_app(ServiceConfig(models=(tmp_path,), default_model="tiny", watch_s=0))
    async with serve(app):
        assert await replace(asked).of(app) == status  # what is made once is made
        with nothing_left():
            assert await replace(asked).of(app) == status


@asynccontextmanager
async def full(app: FastAPI) -> AsyncIterator[list[Asked]]:
    """The model has all that it takes, for as long as the block takes."""
    async with Hold(app.state.repository.get("tiny")):
        asked = [Asked() for _ in range(3)]
        tasks = []
        for each in asked:
            tasks.append(asyncio.create_task(each.of(app)))
            await settle()
        yield asked
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("body", [b"{}", b'{"seed": 2}'])
@pytest.mark.parametrize("kept", [False, True])
async def test_a_refusal_leaves_nothing(
    narrow: ServiceConfig, serve: Serve, body: bytes, kept: bool
) -> None:
    app = create_app(narrow)
    async with serve(app):
        if kept:
            await Asked(b'{"seed": 1}').of(app)
        async with full(app):
            assert await Asked(body).of(app) == 429
            with nothing_left():
                assert await Asked(body).of(app) == 429


async def test_who_waited_leaves_nothing(
    narrow: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "WATCHED_AFTER_S", 0)
    app = create_app(narrow)
    async with serve(app):
        for _ in range(2):
            with nothing_left():
                async with full(app) as asked:
                    asked[-1].gone.set()
                    await settle()
            assert [each.status for each in asked] == [200, 200, 0]


async def test_who_came_too_late_leaves_nothing() -> None:
    device, clock = Device(held=True), Clock()
    busy: Batcher[list[int], list[int]] = Batcher(
        device.run, max_batch_rows=4, max_queue_rows=4, max_queue_bytes=4, clock=clock
    )
    first = asyncio.create_task(busy.submit([1], key="", nbytes=1))
    await settle()
    with nothing_left():
        late = asyncio.create_task(busy.submit([2], key="", nbytes=1, deadline=clock.now + 1))
        await settle()
        clock.now += 1
        await device.release_all()
        with pytest.raises(Expired):
            await late
        del late
    await first
    await busy.close()
