"""Large uploads at once: only so many are decoded, the others wait for room or are refused."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from export.manifest import FreeSize
from service import inputs, making, reading
from service import model as model_module
from service.app import create_app
from service.batcher import Priority
from service.config import ServiceConfig
from service.images import Picture, UploadedFile
from service.model import Model
from service.room import Room
from tests.service.conftest import Serve
from tests.service.held import Hold, settle
from tests.service.pictures import decode
from tests.tiny import tiny_bundle
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio

SIZE = FreeSize(min_side=1, max_side=64, max_pixels=4096, stride=1, warm=((8, 8),))
PIXELS = 64  # of each picture, and the most that one may have: there is room for two


def large(number: int = 0, nbytes: int = 0, side: int = 8) -> bytes:
    """A picture of ``PIXELS`` by default, in a file of at least so many bytes."""
    stream = io.BytesIO()
    Image.new("L", (side, side), number).save(stream, "PNG")
    return stream.getvalue().ljust(nbytes, b"\0")


@dataclass
class Bench:
    """A service with one model, whose uploads are all large."""

    client: httpx.AsyncClient
    model: Model
    decoded: int = 0

    def room(self, priority: Priority = "interactive") -> Room:
        return self.model._room[priority]

    async def send(self, content: bytes, **query: str) -> asyncio.Task[httpx.Response]:
        """Start an upload, and let it come as far as it can."""
        headers = {"Content-Type": "image/png", "Accept": "image/png"}
        work = self.client.post("/translate", content=content, headers=headers, params=query)
        task = asyncio.create_task(work)
        await settle()
        return task


@pytest.fixture
async def bench(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setattr(model_module, "SMALL_PIXELS", 0)
    picture_bundle(tmp_path, size=SIZE)
    config = ServiceConfig(
        models=(tmp_path,), watch_s=0, max_upload_pixels=PIXELS, queue_bytes=2000, lanes=1
    )
    app = create_app(config)
    async with serve(app) as client:
        made = Bench(client, app.state.repository.get(None))
        whole = UploadedFile.decode

        def counted(file: UploadedFile, channels: int) -> Picture:
            made.decoded += 1
            return whole(file, channels)

        monkeypatch.setattr(UploadedFile, "decode", counted)
        yield made


@asynccontextmanager
async def full(bench: Bench) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """Two uploads that are being answered for as long as the block takes."""
    async with Hold(bench.model):
        yield [await bench.send(large(number)) for number in range(2)]


async def test_what_has_no_room_waits_undecoded_and_is_answered_in_its_turn(bench: Bench) -> None:
    async with full(bench) as first:
        third = await bench.send(large(2))
        assert (bench.decoded, bench.room().pixels) == (2, 2 * PIXELS)
        assert bench.room().waiting_bytes == len(large(2))
    replies = await asyncio.gather(*first, third)
    assert [decode(reply.content)[0, 0, 0] for reply in replies] == [255, 254, 253]
    assert (bench.room().pixels, bench.room().waiting_bytes) == (0, 0)


async def test_bulk_does_not_keep_others_out(bench: Bench) -> None:
    async with Hold(bench.model):
        bulk = [await bench.send(large(number), priority="bulk") for number in range(3)]
        assert (bench.room("bulk").pixels, bench.decoded) == (2 * PIXELS, 2)
        other = await bench.send(large(3))
        assert (bench.room().pixels, bench.decoded) == (PIXELS, 3)
    replies = await asyncio.gather(*bulk, other)
    assert {reply.status_code for reply in replies} == {200}


async def test_a_deadline_holds_while_room_is_waited_for(bench: Bench) -> None:
    async with full(bench):
        reply = await (await bench.send(large(), timeout_s="0.001"))
        assert reply.status_code == 504
        assert reply.json()["type"].endswith("DeadlineExceeded")
        assert "no room for a picture of 64 pixels in time" in reply.json()["detail"]
        assert int(reply.headers["retry-after"]) >= 1
        assert (bench.decoded, bench.room().waiting_bytes) == (2, 0)


async def test_no_more_bytes_wait_for_room_than_for_the_model(bench: Bench) -> None:
    async with full(bench):
        waiting = await bench.send(large(2, nbytes=1950))
        reply = await (await bench.send(large(3)))
        assert reply.status_code == 429
        assert reply.json()["type"].endswith("QueueFull")
        assert "too many large pictures wait" in reply.json()["detail"]
        assert int(reply.headers["retry-after"]) >= 1
    assert (await waiting).status_code == 200


async def test_small_pictures_need_no_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async with full(bench):
        monkeypatch.setattr(model_module, "SMALL_PIXELS", PIXELS)
        await bench.send(large(2))
        assert (bench.decoded, bench.room().waiting_bytes) == (3, 0)


class WatchedHold(Hold):
    """Notes the rows of each batch."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.batches: list[int] = []
        self.started = threading.Event()

    def wait(self, rows: int, padding_rows: int, seconds: float) -> None:
        self.batches.append(rows)
        self.started.set()
        super().wait(rows, padding_rows, seconds)


@pytest.mark.parametrize(("side", "batches"), [(8, [1, 4]), (16, [1, 2, 2]), (64, [1, 1, 1, 1, 1])])
async def test_batches_of_large_rows_are_small(
    side: int, batches: list[int], tmp_path: Path, serve: Serve
) -> None:
    picture_bundle(tmp_path, size=SIZE)
    app = create_app(ServiceConfig(models=(tmp_path,), watch_s=0, lanes=1, max_batch_rows=8))
    async with serve(app) as client:
        bench = Bench(client, app.state.repository.get(None))
        hold = WatchedHold(bench.model)
        async with hold:
            tasks = [await bench.send(large(side=side))]
            await asyncio.to_thread(hold.started.wait, 30)
            tasks += [await bench.send(large(number, side=side)) for number in range(1, 5)]
        assert {reply.status_code for reply in await asyncio.gather(*tasks)} == {200}
    assert hold.batches == batches


class HoldSecond(Hold):
    """Lets one batch pass, and keeps the next."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.passed = False
        self.kept = threading.Event()

    def wait(self, rows: int, padding_rows: int, seconds: float) -> None:
        if self.passed:
            self.kept.set()
            super().wait(rows, padding_rows, seconds)
        self.passed = True


async def test_room_is_kept_until_the_last_picture_of_several_is_made(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "SMALL_PIXELS", 0)
    picture_bundle(tmp_path, size=SIZE, grain=True)
    app = create_app(ServiceConfig(models=(tmp_path,), watch_s=0, lanes=1, max_batch_rows=1))
    async with serve(app) as client:
        bench = Bench(client, app.state.repository.get(None))
        hold = HoldSecond(bench.model)
        async with hold:
            headers = {"Content-Type": "image/png", "Accept": "multipart/mixed"}
            work = client.post("/translate?num_images=3", content=large(), headers=headers)
            task = asyncio.create_task(work)
            assert await asyncio.to_thread(hold.kept.wait, 30)
            await settle()
            assert bench.room().pixels == PIXELS
        assert (await task).content.count(b"\x89PNG") == 3
        assert bench.room().pixels == 0


async def test_what_the_queue_has_no_place_for_is_neither_decoded_nor_drawn(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture_bundle(tmp_path, size=SIZE, grain=True)
    narrow = {"lanes": 1, "max_batch_rows": 1, "queue_images": 2, "max_images": 2}
    config = ServiceConfig.model_validate({"models": (tmp_path,), "watch_s": 0} | narrow)
    made: list[str] = []
    app = create_app(config)
    async with serve(app) as client:
        bench = Bench(client, app.state.repository.get(None))
        async with Hold(bench.model):
            first = [await bench.send(large(number)) for number in range(3)]
            monkeypatch.setattr(reading, "DECODED_INLINE_PIXELS", 0)
            monkeypatch.setattr(UploadedFile, "decode", lambda *_: made.append("decoded"))
            monkeypatch.setattr(making, "bind", lambda *_: made.append("drawn"))
            refused = await (await bench.send(large(), num_images="2"))
            late = await (await bench.send(large(), timeout_s="0.000001"))
        assert {reply.status_code for reply in await asyncio.gather(*first)} == {200}
    assert (refused.status_code, late.status_code, made) == (429, 504, [])
    assert "1 rows and 1540 bytes wait already" in refused.json()["detail"]


@pytest.mark.parametrize("accept", ["image/png", "multipart/mixed", "v2"])
async def test_what_the_queue_has_no_place_for_is_not_drawn(
    accept: str, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bundle(tmp_path)
    narrow = {"lanes": 1, "max_batch_rows": 1, "queue_images": 2, "max_images": 2}
    fixed = {"models": (tmp_path,), "watch_s": 0, "cache_bytes": 0}
    app = create_app(ServiceConfig.model_validate(fixed | narrow))
    drawn: list[object] = []
    async with serve(app) as client:
        async with Hold(app.state.repository.get(None)):
            first = []
            for _ in range(3):
                first.append(asyncio.create_task(client.post("/generate", json={})))
                await settle()
            monkeypatch.setattr(inputs, "INLINE_ELEMENTS", 0)
            monkeypatch.setattr(making, "bind", drawn.append)
            if accept == "v2":
                asked = {"parameters": {"num_images": 2}}
                reply = await client.post("/v2/models/tiny/infer", json=asked)
            else:
                headers = {"Accept": accept}
                reply = await client.post("/generate", json={"num_images": 2}, headers=headers)
        assert {each.status_code for each in await asyncio.gather(*first)} == {200}
    assert (reply.status_code, drawn) == (429, [])
