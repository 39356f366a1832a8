"""What serves is changed over HTTP, all of it or nothing, and a restart remembers."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from export.bundle import Bundle, write_manifest
from service import repository as repository_module
from service.app import create_app
from service.config import ServiceConfig, StateUnreadable
from service.model import Model, load
from service.routes.admin import routes
from tests.service.conftest import Serve, serving
from tests.service.held import settle
from tests.tiny import ONNX, tiny_bundle

pytestmark = pytest.mark.anyio


def configured(folder: Path, **settings: Any) -> ServiceConfig:  # noqa: ANN401
    fast = {"lanes": 1, "threads": 1, "max_batch_rows": 2, "watch_s": 0}
    return ServiceConfig(models=(folder,), **(fast | settings))


@asynccontextmanager
async def started(folder: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401
    async with serving(create_app(configured(folder, **settings))) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two versions of cats."""
    tiny_bundle(tmp_path, name="cats", version=1, salt=1)
    tiny_bundle(tmp_path, name="cats", version=2, salt=2)
    return tmp_path


async def change(
    client: httpx.AsyncClient, action: str, version: int | None = None, name: str = "cats"
) -> dict[str, Any]:
    body = {} if version is None else {"version": version}
    reply = await client.post(f"/admin/models/{name}/{action}", json=body)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def refused(
    client: httpx.AsyncClient, action: str, version: int, status: int = 409
) -> dict[str, Any]:
    reply = await client.post(f"/admin/models/cats/{action}", json={"version": version})
    assert reply.status_code == status, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def picture(client: httpx.AsyncClient, version: int | None = None) -> str:
    pinned = {} if version is None else {"version": version}
    reply = await client.post("/generate", json={"model": "cats", "seed": 7} | pinned)
    assert reply.status_code == 200, reply.text
    data: str = reply.json()["images"][0]["data"]
    return data


async def states(client: httpx.AsyncClient) -> dict[int, str]:
    models = (await client.get("/admin/models")).json()["models"]
    return {each["version"]: each["state"] for model in models for each in model["versions"]}


async def default(client: httpx.AsyncClient) -> int:
    [card] = (await client.get("/models")).json()["models"]
    version: int = card["version"]
    return version


def kept(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / ".ganymede.json").read_text())
    return state


def spoil(folder: Path, version: int) -> Path:
    graph = folder / "cats" / str(version) / ONNX
    graph.write_bytes(b"not what was exported")
    return graph


# --- What there is. ---


async def test_every_version_is_listed_with_what_became_of_it(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    bundle = tiny_bundle(one, name="cats", version=1)
    for version in (2, 3, 4):
        tiny_bundle(one, name="cats", version=version)
    spoil(one, 2)
    hidden = tiny_bundle(two, name="cats", version=1).path
    async with serving(create_app(configured(one).model_copy(update={"models": (one, two)}))) as (
        client
    ):
        await change(client, "default", 1)
        await change(client, "unload", 4)
        document = (await client.get("/admin/models")).json()
    assert document["generation"] == 2
    [cats] = document["models"]
    assert cats["chosen_default"] == 1
    assert cats["earlier_defaults"] == [4]
    told = [(each["version"], each["state"], each["default"]) for each in cats["versions"]]
    assert told == [
        (1, "serving", True),
        (1, "superseded", False),
        (2, "failed", False),
        (3, "serving", False),
        (4, "unloaded", False),
    ]
    first, second, third, *_ = cats["versions"]
    assert (first["digest"], first["reason"]) == (bundle.digest, None)
    assert second["path"] == str(hidden)
    assert "is hidden by" in second["reason"]
    assert "copy it again" in third["reason"]


async def test_what_was_never_measured_is_listed_with_a_notice(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, name="cats")
    second = tiny_bundle(tmp_path, name="cats", version=2)
    write_manifest(second.path, second.manifest.model_copy(update={"parity": None}))
    async with started(tmp_path) as client:
        [cats] = (await client.get("/admin/models")).json()["models"]
    assert [each["state"] for each in cats["versions"]] == ["serving", "serving"]
    assert cats["versions"][0]["notice"] is None
    assert "no parity record" in cats["versions"][1]["notice"]


# --- The default, and back. ---


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
async def test_the_chosen_version_answers_and_a_rollback_is_one_call(
    folder: Path, cache_bytes: int
) -> None:
    async with started(folder, cache_bytes=cache_bytes) as client:
        one, two = await picture(client, 1), await picture(client, 2)
        assert one != two
        assert await picture(client) == two  # the newest, as nobody chose
        told = await change(client, "default", 1)
        assert [each["default"] for each in told["versions"]] == [True, False]
        assert await picture(client) == one
        assert await default(client) == 1
        await change(client, "default", 2)
        assert await picture(client) == two
        await change(client, "rollback")
        assert await picture(client) == one
        assert await picture(client, 2) == two  # whoever pins it still has it


async def test_a_browsers_copy_of_the_other_version_is_not_good_any_more(folder: Path) -> None:
    async with started(folder) as client:
        url = "/generate/cats.png?seed=7"
        tag = {"If-None-Match": (await client.get(url)).headers["etag"]}
        assert (await client.get(url, headers=tag)).status_code == 304
        await change(client, "default", 1)
        assert (await client.get(url, headers=tag)).status_code == 200
        await change(client, "rollback")
        assert (await client.get(url, headers=tag)).status_code == 304


async def test_a_chosen_default_stays_when_a_newer_version_comes_until_the_newest_is_chosen(
    folder: Path,
) -> None:
    async with started(folder) as client:
        await change(client, "default", 2)
        tiny_bundle(folder, name="cats", version=3, salt=3)
        await change(client, "load")
        assert await default(client) == 2
        reply = await client.post("/admin/models/cats/default", json={"version": None})
        assert reply.json()["chosen_default"] is None
        assert await default(client) == 3


async def test_a_bundle_that_was_just_copied_is_found_at_once(folder: Path) -> None:
    async with started(folder) as client:
        tiny_bundle(folder, name="cats", version=3, salt=3)
        await change(client, "default", 3)
        assert await default(client) == 3


# --- Unloading, loading, reloading. ---


async def test_what_is_unloaded_serves_no_more_and_what_is_loaded_does(folder: Path) -> None:
    async with started(folder) as client:
        await change(client, "unload", 2)
        assert await default(client) == 1
        reply = await client.post("/generate", json={"model": "cats", "version": 2})
        assert reply.status_code == 404
        await change(client, "load", 2)
        assert await default(client) == 2
        await change(client, "unload")
        assert (await client.post("/generate", json={"model": "cats"})).status_code == 404
        problem = (await client.get("/health/ready")).json()
        assert "ganymede admin load" in problem["detail"]
        assert "cats/1, cats/2" in problem["detail"]
        await change(client, "load", 1)
        assert await states(client) == {1: "serving", 2: "unloaded"}
        assert (await client.get("/health/ready")).status_code == 200


async def test_what_is_unloaded_stays_so_through_looks_and_a_restart(folder: Path) -> None:
    app = create_app(configured(folder))
    async with serving(app) as client:
        await change(client, "unload", 2)
        (folder / "cats" / "2" / ONNX).touch()
        await app.state.repository.refresh()
        assert await states(client) == {1: "serving", 2: "unloaded"}
    async with started(folder) as client:
        assert await states(client) == {1: "serving", 2: "unloaded"}
        await change(client, "unload")
        tiny_bundle(folder, name="cats", version=3)
    async with started(folder) as client:
        assert set((await states(client)).values()) == {"unloaded"}


def model_of(app: FastAPI) -> Model:
    model: Model = app.state.repository.get("cats")
    return model


async def test_a_reload_takes_what_now_lies_there(folder: Path) -> None:
    app = create_app(configured(folder))
    async with serving(app) as client:
        old, before = model_of(app), await picture(client)
        told = await change(client, "reload", 2)
        assert model_of(app) is not old  # opened anew, though nothing changed
        assert await picture(client) == before
        assert [each["reloads"] for each in told["versions"]] == [0, 1]
        shutil.rmtree(folder / "cats" / "2")
        new = tiny_bundle(folder, name="cats", version=2, salt=5)
        told = await change(client, "reload")
        assert told["versions"][1]["digest"] == new.digest
        assert await picture(client) != before
        reloaded = model_of(app)
        await app.state.repository.refresh()
        assert model_of(app) is reloaded


# --- All or nothing. ---


async def test_a_version_that_fails_leaves_the_old_serving_and_says_why(folder: Path) -> None:
    async with started(folder) as client:
        await change(client, "default", 1)
        state, before = kept(folder), await picture(client)
        tiny_bundle(folder, name="cats", version=3)
        whole = (folder / "cats" / "1" / ONNX).read_bytes()
        for version in (1, 3):
            spoil(folder, version)
        for action, version in (("default", 3), ("load", 3), ("reload", 3), ("reload", 1)):
            problem = await refused(client, action, version)
            assert problem["type"] == "urn:ganymede:problem:ChangeRefused"
            assert f"cats/{version}" in problem["detail"]
            assert "copy it again" in problem["detail"]
            assert await picture(client) == before
            assert kept(folder) == state
        assert await states(client) == {1: "serving", 2: "serving", 3: "failed"}
        (folder / "cats" / "1" / ONNX).write_bytes(whole)
        told = await change(client, "reload", 1)
        assert told["versions"][0]["reason"] is None


async def test_a_reload_that_failed_is_tried_again_when_it_is_asked_for_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> Model:
        raise MemoryError("no room at this moment")

    app = create_app(configured(folder))
    async with serving(app) as client:
        old = model_of(app)
        with monkeypatch.context() as patch:
            patch.setattr(repository_module, "load", fail)
            problem = await refused(client, "reload", 2)
            assert "no room at this moment" in problem["detail"]
        await app.state.repository.refresh()
        assert model_of(app) is old  # nobody asked for it since
        told = await change(client, "reload", 2)
        assert model_of(app) is not old
        assert told["versions"][1]["reason"] is None


async def test_a_reload_of_several_is_undone_when_one_of_them_fails(folder: Path) -> None:
    async with started(folder) as client:
        before = await picture(client, 1), await picture(client, 2)
        spoil(folder, 2)
        reply = await client.post("/admin/models/cats/reload")
        assert reply.status_code == 409
        assert (await picture(client, 1), await picture(client, 2)) == before
        document = (await client.get("/admin/models")).json()
        assert document["generation"] == 0
        assert [each["reloads"] for each in document["models"][0]["versions"]] == [0, 0]


async def test_a_bundle_that_is_broken_stops_no_change_of_another(folder: Path) -> None:
    tiny_bundle(folder, name="cats", version=3)
    spoil(folder, 3)
    async with started(folder) as client:
        await change(client, "default", 1)
        await change(client, "reload", 1)
        await change(client, "rollback")
        assert await default(client) == 2


async def test_what_cannot_be_kept_is_not_changed(folder: Path) -> None:
    (folder / "file").write_text("")
    async with started(folder, state_file=folder / "file" / "state.json") as client:
        before = await picture(client)
        problem = await refused(client, "default", 1, status=500)
        assert problem["type"] == "urn:ganymede:problem:StateNotKept"
        assert "GANYMEDE_STATE_FILE" in problem["detail"]
        assert await picture(client) == before
        await change(client, "load", 1)  # it is as it should be: nothing is written
        assert (await client.get("/admin/models")).json()["generation"] == 0


async def test_what_was_made_and_cannot_be_kept_is_undone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(folder) as client:

        def fail(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("service.state.os.replace", fail)
        await refused(client, "unload", 2, status=500)
        assert await default(client) == 2
        assert await states(client) == {1: "serving", 2: "serving"}
        assert not list(folder.glob(".ganymede*"))


# --- Restarts. ---


async def test_the_default_survives_a_restart(folder: Path) -> None:
    async with started(folder) as client:
        await change(client, "default", 1)
    async with started(folder) as client:
        assert await default(client) == 1
        await change(client, "rollback")
        assert await default(client) == 2


async def test_a_default_that_is_gone_is_told_and_the_newest_answers(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(folder) as client:
        await change(client, "default", 1)
        assert (await client.get("/models/cats")).json()["notice"] is None
    shutil.rmtree(folder / "cats" / "1")
    tiny_bundle(folder, name="cats", version=3)
    expected = "the default version 1 is not loaded: 3 answers meanwhile"
    with caplog.at_level(logging.WARNING):
        async with started(folder) as client:
            assert await default(client) == 3
            [card] = (await client.get("/models")).json()["models"]
            assert card["notice"] == expected
            [cats] = (await client.get("/admin/models")).json()["models"]
            assert cats["notice"] == expected
    assert f"model 'cats': {expected}" in [record.getMessage() for record in caplog.records]


async def test_a_damaged_state_stops_the_start(folder: Path) -> None:
    (folder / ".ganymede.json").write_text("{")
    app = create_app(configured(folder))
    with pytest.raises(StateUnreadable, match="is damaged"):
        async with serving(app):
            pass


# --- What is asked wrongly, or too early. ---


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("cats/load", "{", 400),
        ("cats/load", "[]", 422),
        ("cats/load", '{"version": "1"}', 422),
        ("cats/load", '{"version": true}', 422),
        ("cats/load", '{"version": 0}', 422),
        ("cats/load", '{"versions": 1}', 422),
        ("cats/unload", '{"version": 9}', 404),
        ("cats/default", "{}", 422),
        ("cats/default", "", 422),
        ("cats/rollback", '{"version": 1}', 422),
        ("cat/load", "{}", 404),
        ("c%00t/load", "{}", 404),
        ("..%2fcats/load", "{}", 404),
        (f"{'c' * 5000}/load", "{}", 404),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx.AsyncClient, path: str, body: str, status: int
) -> None:
    path = path.replace("cats", "colour")
    headers = {"Content-Type": "application/json"}
    reply = await client.post(f"/admin/models/{path}", content=body, headers=headers)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"


async def test_a_body_that_is_no_json_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/admin/models/colour/load", content="version=1")
    assert reply.status_code == 415


async def test_nothing_is_changed_while_the_models_load(config: ServiceConfig) -> None:
    transport = httpx.ASGITransport(create_app(config))  # its lifespan was not entered
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        reply = await client.post("/admin/models/colour/load")
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) >= 1


def test_every_page_of_administration_is_below_one_path() -> None:
    paths = {getattr(route, "path", "") for route in routes.routes}
    assert all(path.startswith("/admin/") for path in paths)


# --- A change that takes long. ---


class Slow:
    """Loading waits until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()
        monkeypatch.setattr(repository_module, "load", self)

    async def __call__(self, bundle: Bundle, *others: Any) -> Model:  # noqa: ANN401
        self.asked += 1
        await self.go_on.wait()
        return await load(bundle, *others)


async def until(condition: Any) -> None:  # noqa: ANN401
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def test_a_change_that_takes_long_is_told_and_goes_on(
    folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(configured(folder, admin_timeout_s=1e-6))
    async with serve(app) as client:
        old, slow = model_of(app), Slow(monkeypatch)
        reply = await client.post("/admin/models/cats/reload", json={"version": 2})
        assert reply.status_code == 504
        assert reply.json()["type"] == "urn:ganymede:problem:StillChanging"
        assert int(reply.headers["retry-after"]) >= 1
        assert model_of(app) is old
        slow.go_on.set()
        await until(lambda: model_of(app) is not old)


async def test_a_client_that_goes_away_does_not_stop_a_change(
    folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(configured(folder))
    async with serve(app) as client:
        old, slow = model_of(app), Slow(monkeypatch)
        asked = asyncio.create_task(client.post("/admin/models/cats/reload", json={"version": 2}))
        await until(lambda: slow.asked)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        slow.go_on.set()
        await until(lambda: model_of(app) is not old)
        await until((folder / ".ganymede.json").exists)


async def test_changes_are_made_one_after_the_other(
    folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(configured(folder))
    async with serve(app) as client:
        slow = Slow(monkeypatch)
        first = asyncio.create_task(change(client, "reload", 1))
        await until(lambda: slow.asked)
        second = asyncio.create_task(change(client, "default", 1))
        await settle()
        assert not second.done()
        slow.go_on.set()
        await asyncio.gather(first, second)
        assert (await client.get("/admin/models")).json()["generation"] == 2
        assert kept(folder)["models"]["cats"]["reloads"] == {"1": 1}
        assert kept(folder)["models"]["cats"]["default"] == 1


# --- Under load. ---


async def test_requests_during_changes_all_succeed_with_one_version_or_the_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.retirement.LINGER_S", 0)
    async with started(folder, cache_bytes=0) as client:
        known = {await picture(client, 1), await picture(client, 2)}
        seen: list[str] = []
        done = asyncio.Event()

        async def ask() -> None:
            while not done.is_set():
                seen.append(await picture(client))

        askers = [asyncio.create_task(ask()) for _ in range(8)]
        for _ in range(2):
            await change(client, "default", 1)
            await change(client, "reload")
            await change(client, "rollback")
            await change(client, "unload", 1)
            await change(client, "load", 1)
        done.set()
        await asyncio.gather(*askers)
    assert set(seen) == known


async def test_a_change_that_a_stop_overtakes_is_not_kept(
    folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(configured(folder))
    async with serve(app) as client:
        slow = Slow(monkeypatch)
        asked = asyncio.create_task(client.post("/admin/models/cats/reload"))
        await until(lambda: slow.asked)
        stop = asyncio.create_task(app.state.repository.close())
        await settle()
        slow.go_on.set()
        assert (await asked).status_code == 503
        await stop
    assert not list(folder.glob(".ganymede*"))
