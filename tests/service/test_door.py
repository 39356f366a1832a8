"""Who would be refused whatever the body says is refused before it is read."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Thread

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from onnx import TensorProto, helper, numpy_helper

from export.bundle import fingerprint, write_manifest
from export.manifest import Label
from service.app import create_app
from service.config import ServiceConfig
from service.listening import listen
from service.server import Server
from tests.service.conftest import Serve
from tests.service.held import Hold, settle
from tests.tiny import ONNX, OPSET, tiny_bundle
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio


def narrow(folder: Path, **settings: object) -> ServiceConfig:
    """One image runs, one is handed over ahead, one waits, and that is all."""
    fixed = {"lanes": 1, "max_batch_rows": 1, "queue_images": 1, "max_images": 1, "watch_s": 0}
    return ServiceConfig.model_validate({"models": (folder,)} | fixed | settings)


@asynccontextmanager
async def full(
    app: FastAPI, client: httpx.AsyncClient, name: str, *, requests: int = 3
) -> AsyncIterator[None]:
    """The model has all that it takes, for as long as the block takes."""
    model = app.state.repository.get(name)
    async with Hold(model):
        tasks = []
        for _ in range(requests):
            tasks.append(asyncio.create_task(client.post("/generate", json={"model": name})))
            await settle()
        yield
    assert {reply.status_code for reply in await asyncio.gather(*tasks)} == {200}


class Body:
    """A body that notes whether anybody reads it."""

    def __init__(self, content: bytes = b"{}") -> None:
        self.read, self._content = False, content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.read = True
        yield self._content

    async def post(
        self, client: httpx.AsyncClient, path: str = "/generate", **headers: str
    ) -> httpx.Response:
        told = {"Content-Type": "application/json"} | headers
        return await client.post(path, content=self, headers=told)


async def test_while_the_queue_is_full_no_body_is_read(tmp_path: Path, serve: Serve) -> None:
    tiny_bundle(tmp_path)
    app = create_app(narrow(tmp_path, cache_bytes=0))
    async with serve(app) as client:
        before = Body()
        assert (await before.post(client)).status_code == 200
        assert before.read
        async with full(app, client, "tiny"):
            body = Body()
            reply = await body.post(client)
            counted = (await client.get("/metrics")).text
    assert (reply.status_code, body.read) == (429, False)
    assert reply.json()["type"].endswith("QueueFull")
    assert "come back later" in reply.json()["detail"]
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert 'ganymede_requests_total{model="",route="/generate",status="429"} 1.0' in counted
    assert 'ganymede_refusals_total{reason="queue_full"} 1.0' in counted


async def test_until_the_models_are_loaded_no_body_is_read(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    app = create_app(narrow(tmp_path))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("/generate", "/translate", "/encode", "/score"):
            body = Body()
            reply = await body.post(client, path)
            assert (reply.status_code, body.read) == (503, False)
            assert reply.json()["detail"] == "the models are being loaded"
            assert reply.headers["retry-after"] == "1"
        assert (await client.get("/health/live")).status_code == 200


async def test_it_stays_open_while_any_model_that_could_be_meant_takes_more(
    tmp_path: Path, serve: Serve
) -> None:
    tiny_bundle(tmp_path, name="one")
    tiny_bundle(tmp_path, name="other")
    picture_bundle(tmp_path, name="painter")
    app = create_app(narrow(tmp_path, cache_bytes=0))
    asked = Body(json.dumps({"model": "other"}).encode())
    async with serve(app) as client, full(app, client, "one"):
        assert (await asked.post(client)).status_code == 200
        async with full(app, client, "other"):
            body = Body()
            assert ((await body.post(client)).status_code, body.read) == (429, False)
            elsewhere = Body()  # the painter has room
            assert (await elsewhere.post(client, "/translate")).status_code == 422
            assert elsewhere.read
            nobody = Body()  # no model encodes, which is told as ever
            assert (await nobody.post(client, "/encode")).status_code == 422


async def test_what_may_have_been_answered_before_comes_in(tmp_path: Path, serve: Serve) -> None:
    tiny_bundle(tmp_path)
    app = create_app(narrow(tmp_path))
    async with serve(app) as client:
        kept = await client.post("/generate", json={"seed": 100})
        async with full(app, client, "tiny"):
            again = await client.post("/generate", json={"seed": 100})
            assert again.json()["images"] == kept.json()["images"]
            app.state.cache.nbytes = 0  # as if nothing were kept
            body = Body(b'{"seed": 100}')
            known = await body.post(client, **{"If-None-Match": kept.headers["etag"]})
            assert known.status_code == 304
            assert (await Body().post(client)).status_code == 429


async def test_what_gives_no_seed_was_never_answered_before(tmp_path: Path, serve: Serve) -> None:
    tiny_bundle(tmp_path)
    app = create_app(narrow(tmp_path, max_images=2, queue_images=2))
    between = {"interpolate": {"from": 1, "to": 2, "steps": 2}}
    async with serve(app) as client:
        for kept in ({"seed": 100}, between):
            assert (await client.post("/generate", json=kept)).status_code == 200
        async with full(app, client, "tiny", requests=4):
            refused = await Body(b"{").post(client)
            assert refused.status_code == 429  # and is not parsed
            assert refused.json()["type"].endswith("QueueFull")
            assert int(refused.headers["retry-after"]) >= 1
            for kept in ({"seed": 100}, between):
                assert (await client.post("/generate", json=kept)).status_code == 200


def two_pictures(folder: Path) -> None:
    """A model that draws nothing: each class has one picture."""
    bundle = tiny_bundle(folder, classes=("dark", "bright"))
    size = 8
    pictures = np.stack([np.zeros((size, size, 1)), np.full((size, size, 1), 255)])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Gather", ["pictures", "label"], ["image"])],
        "pictures",
        [value("label", TensorProto.INT64, ["batch"])],
        [value("image", TensorProto.UINT8, ["batch", size, size, 1])],
        [numpy_helper.from_array(pictures.astype(np.uint8), "pictures")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    (bundle.path / ONNX).write_bytes(model.SerializeToString())
    manifest = bundle.manifest
    label = [entry for entry in manifest.graph("generate").inputs if isinstance(entry, Label)]
    described = manifest.graph("generate").model_copy(update={"inputs": tuple(label)})
    changed = {"graphs": {"generate": described}, "files": {ONNX: fingerprint(bundle.path / ONNX)}}
    write_manifest(bundle.path, manifest.model_copy(update=changed))


async def test_what_is_never_drawn_is_known_without_a_seed(tmp_path: Path, serve: Serve) -> None:
    two_pictures(tmp_path)
    app = create_app(narrow(tmp_path))
    async with serve(app) as client:
        kept = await client.post("/generate", json={"label": "dark"})
        assert kept.status_code == 200
        async with full(app, client, "tiny"):
            again = await client.post("/generate", json={"label": "dark"})
            assert again.json()["images"] == kept.json()["images"]
            refused = await client.post("/generate", json={"label": "bright"})
            assert refused.status_code == 429


async def test_it_is_below_the_root_path(tmp_path: Path) -> None:
    app = create_app(narrow(tmp_path, root_path="/pictures"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("/generate", "/pictures/generate"):
            body = Body()
            assert ((await body.post(client, path)).status_code, body.read) == (503, False)


async def test_in_v2_the_path_names_the_model(tmp_path: Path, serve: Serve) -> None:
    tiny_bundle(tmp_path, name="one")
    tiny_bundle(tmp_path, name="other")
    app = create_app(narrow(tmp_path, cache_bytes=0))
    async with serve(app) as client, full(app, client, "one"):
        for path in ("/v2/models/one/infer", "/v2/models/one/versions/1/infer"):
            body = Body()
            reply = await body.post(client, path)
            assert (reply.status_code, body.read) == (429, False)
            assert "too much waits for model one/1" in reply.json()["error"]
        assert (await Body().post(client, "/v2/models/other/infer")).status_code == 200
        assert (await Body().post(client, "/v2/models/nobody/infer")).status_code == 404
        counted = (await client.get("/metrics")).text
    route = "/v2/models/{name}/versions/{version}/infer"
    assert f'ganymede_requests_total{{model="",route="{route}",status="429"}} 1.0' in counted


async def test_bytes_fill_a_queue_as_rows_do(tmp_path: Path, serve: Serve) -> None:
    tiny_bundle(tmp_path)
    app = create_app(narrow(tmp_path, cache_bytes=0, queue_images=9))
    async with serve(app) as client:
        model = app.state.repository.get("tiny")
        [engine] = model.engines.values()
        async with full(app, client, "tiny"):
            engine.batcher._max_queue_bytes = engine.batcher._queue.nbytes + 1
            body = Body()
            assert ((await body.post(client)).status_code, body.read) == (429, False)


# --- A real server: what becomes of the body that nobody read. ---


@contextmanager
def closed(folder: Path) -> Iterator[int]:
    """The port of a real server whose models are never loaded."""

    async def never(desired: object) -> None:
        await asyncio.Event().wait()

    config = ServiceConfig(models=(folder,), watch_s=0, port=0)
    with listen(config.host, config.port) as listener:
        server = Server(config)
        server._app.state.repository._refresh = never
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def test_a_connection_goes_on_after_a_body_that_nobody_read(tmp_path: Path) -> None:
    with closed(tmp_path) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for size in (2, 2**16, 2**23, 2):
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/generate", b"x" * size, headers)
            reply = connection.getresponse()
            assert (reply.status, reply.getheader("retry-after")) == (503, "1")
            assert "being loaded" in json.loads(reply.read())["detail"]
            held = connection.sock
            connection.request("GET", "/health/live")
            assert json.loads(connection.getresponse().read()) == {"status": "live"}
            assert connection.sock is held  # the same connection
        connection.close()


def test_a_body_that_was_only_announced_is_not_waited_for(tmp_path: Path) -> None:
    with closed(tmp_path) as port, socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(
            b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            b"Expect: 100-continue\r\nContent-Length: 20000000\r\n\r\n"
        )
        received = b""
        while more := connection.recv(2**16):  # to the end: the server closes
            received += more
    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in received.lower()
