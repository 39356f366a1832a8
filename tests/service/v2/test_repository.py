"""``/v2/repository``: models are loaded and unloaded in the protocol's words."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from export.bundle import MANIFEST
from service.app import create_app
from service.config import ServiceConfig
from tests.service.conftest import Serve
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.anyio

INFER = "/v2/models/tiny/infer"


@pytest.fixture
def config(tmp_path: Path) -> ServiceConfig:
    for version in (1, 2):
        tiny_bundle(tmp_path / "models", version=version, salt=version)
    tiny_bundle(tmp_path / "models", name="other")
    return ServiceConfig(
        models=(tmp_path / "models",), watch_s=0, cache_bytes=0, state_file=tmp_path / "state.json"
    )


async def control(
    client: httpx.AsyncClient, verb: str, name: str = "tiny", content: bytes = b""
) -> httpx.Response:
    return await client.post(f"/v2/repository/models/{name}/{verb}", content=content)


async def index(client: httpx.AsyncClient) -> dict[str, tuple[str, str]]:
    entries = (await client.post("/v2/repository/index", content=b"{}")).json()
    return {f"{e['name']}/{e['version']}": (e["state"], e["reason"]) for e in entries}


async def test_a_model_is_unloaded_and_loaded(config: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(config)) as client:
        reply = await control(
            client, "unload", content=b'{"parameters":{"unload_dependents":false}}'
        )
        assert (reply.status_code, reply.content) == (200, b"")
        assert await index(client) == {
            "other/1": ("READY", ""),
            "tiny/1": ("UNAVAILABLE", "unloaded"),
            "tiny/2": ("UNAVAILABLE", "unloaded"),
        }
        ready = await client.post("/v2/repository/index", json={"ready": True})
        assert [entry["name"] for entry in ready.json()] == ["other"]
        gone = await client.post(INFER, json={})
        assert (gone.status_code, gone.json().keys()) == (404, {"error"})
        assert (await client.get("/v2/models/tiny/ready")).status_code == 404
        for _ in range(2):  # what serves already is no fault
            assert (await control(client, "load", content=b"{}")).status_code == 200
        assert (await client.post(INFER, json={})).json()["model_version"] == "2"
        assert {state for state, _ in (await index(client)).values()} == {"READY"}


async def test_loading_takes_up_what_is_new_in_the_folders(
    config: ServiceConfig, serve: Serve
) -> None:
    async with serve(create_app(config)) as client:
        tiny_bundle(Path(config.models[0]), version=3)
        assert (await control(client, "load")).status_code == 200
        assert (await client.post(INFER, json={})).json()["model_version"] == "3"


async def test_a_change_that_cannot_be_is_told(config: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(config)) as client:
        for verb in ("load", "unload"):
            reply = await control(client, verb, name="tinny")
            assert reply.status_code == 404
            assert "did you mean 'tiny'" in reply.json()["error"]
        broken = tiny_bundle(Path(config.models[0]), version=3)
        (broken.path / MANIFEST).write_text("{}")
        reply = await control(client, "load")
        assert reply.status_code == 409
        assert "tiny/3" in reply.json()["error"]
        assert (await index(client))["tiny/3"][0] == "UNAVAILABLE"
        assert (await client.post(INFER, json={})).json()["model_version"] == "2"


async def test_a_body_that_asks_for_more_is_refused(config: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(config)) as client:
        for content, said in (
            (b'{"parameters":{"config":"{}"}}', "its own configuration"),
            (b'{"parameters":{"file:1/model.onnx":"AA=="}}', "its own configuration"),
            (b'{"parameters":3}', "parameters"),
            (b"{", "not JSON"),
        ):
            reply = await control(client, "load", content=content)
            assert reply.status_code == 400
            assert said in reply.json()["error"]
