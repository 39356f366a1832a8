"""The replica of Ray Serve without Ray: its application, asked as Ray asks it, and its settings."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml
from uvicorn.config import Config
from uvicorn.lifespan.on import LifespanOn

import ganymede_ray
from ganymede_ray import Asked, Replica
from service.app import create_app
from service.config import InvalidSetting, ServiceConfig
from service.middleware import Message
from service.supervisor import GRACE_S
from tests.service.conftest import serving
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "ray"
SERVE: dict[str, Any] = yaml.safe_load((FOLDER / "serve.yaml").read_text("utf-8"))
[APPLICATION] = SERVE["applications"]
[DEPLOYMENT] = APPLICATION["deployments"]
BODY = {"label": "star", "num_images": 3, "seed": 7}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, as the environment of a replica names it."""
    folder = tmp_path / "models"
    tiny_bundle(folder)
    monkeypatch.setenv("GANYMEDE_MODELS", str(folder))
    monkeypatch.setenv("GANYMEDE_CORES", "1")
    monkeypatch.setattr("service.logs.configure", lambda level: None)
    return folder


class Started:
    """A replica and its application, after what Ray does to start them."""

    def __init__(self, replica: Replica, application: Asked) -> None:
        self.replica, self.application = replica, application
        transport = httpx.ASGITransport(application)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    async def series(self, name: str) -> float:
        """Return the sum of the series with a name and labels that begin so."""
        text = (await self.client.get("/metrics")).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
async def started(models: Path) -> AsyncIterator[Started]:
    replica = Replica()
    application = await replica.__serve_build_asgi_app__()
    lifespan = LifespanOn(Config(application, lifespan="on", log_config=None))
    await lifespan.startup()
    assert not lifespan.should_exit
    yield Started(replica, application)
    await lifespan.shutdown()
    assert not lifespan.should_exit


async def test_replica_answers_as_the_service(started: Started, models: Path) -> None:
    reply = await started.client.post("/generate", json=BODY)
    async with serving(create_app(ServiceConfig(models=(models,), watch_s=0))) as client:
        theirs = await client.post("/generate", json=BODY)
    assert reply.status_code == 200, reply.text
    assert reply.json()["images"] == theirs.json()["images"]


async def test_stream_passes_piece_by_piece(started: Started) -> None:
    headers = {"Accept": "multipart/mixed"}
    reply = await started.client.post("/generate", json=BODY, headers=headers)
    assert reply.content.count(b"\x89PNG\r\n") == 3


async def test_replica_is_healthy_while_it_is_ready(started: Started) -> None:
    await started.replica.check_health()
    await started.replica._models.close()
    with pytest.raises(RuntimeError, match="shutting down"):
        await started.replica.check_health()


async def test_replica_without_a_model_does_not_start(models: Path) -> None:
    (models / "tiny" / "1" / "generate.onnx").write_bytes(b"damaged")
    with pytest.raises(InvalidSetting, match=r"no model serves.*generate\.onnx"):
        await Replica().__serve_build_asgi_app__()


async def test_change_that_would_reach_one_replica_is_refused(started: Started) -> None:
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(started.application, client=("127.0.0.1", 1)),
        base_url="http://localhost",
    )
    reply = await client.post("/admin/models/tiny/unload", json={"version": 1})
    assert reply.status_code == 409
    assert "every replica watches" in reply.json()["detail"]
    assert (await started.client.post("/generate", json=BODY)).status_code == 200


async def test_id_that_ray_adds_is_not_told_twice(started: Started) -> None:
    given = await started.client.get("/models", headers={"X-Request-Id": "ray-1"})
    assert "x-request-id" not in given.headers
    drawn = await started.client.get("/models", headers={"X-Request-Id": "not an id"})
    assert drawn.headers["x-request-id"]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a lone picture wait for company longer than any test."""
    monkeypatch.setenv("GANYMEDE_MAX_WAIT_S", "10")
    monkeypatch.setenv("GANYMEDE_MAX_BATCH_ROWS", "8")


@pytest.mark.usefixtures("patient")
async def test_what_ray_cancels_is_a_client_that_has_gone(started: Started) -> None:
    [model] = started.replica._models.models()
    messages = [{"type": "http.request", "body": b'{"seed": 7}', "more_body": False}]
    nothing_more: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    async def receive() -> Message:
        return messages.pop() if messages else await nothing_more

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/generate",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    request = asyncio.create_task(started.application(scope, receive, send))
    while not model.waiting_rows:
        await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert model.waiting_rows == 0
    assert await started.series("ganymede_cancellations_total") == 1
    assert await started.series("ganymede_refusals_total") == 0


@pytest.mark.parametrize(("granted", "cores"), [({"CPU": 3.0}, 3), ({"CPU": 0.5}, 1), ({}, 1)])
def test_cores_are_those_that_ray_grants(
    granted: dict[str, float], cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = SimpleNamespace(get_assigned_resources=lambda: granted)
    ray = SimpleNamespace(get_runtime_context=lambda: context)
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert ganymede_ray.granted_cores() == cores


async def test_cores_of_a_replica_bound_its_threads(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GANYMEDE_CORES")
    monkeypatch.setattr(ganymede_ray, "granted_cores", lambda: 5)
    replica = Replica()
    await replica.__serve_build_asgi_app__()
    assert replica._models._config.cores == 5
    await replica._models.close()


def test_deployment_is_the_replica() -> None:
    module, function = APPLICATION["import_path"].split(":")
    assert callable(getattr(sys.modules[module], function))
    assert DEPLOYMENT["name"] == Replica.__name__


def test_settings_given_to_the_replicas_exist() -> None:
    known = {f"GANYMEDE_{name.upper()}" for name in ServiceConfig.model_fields}
    given = APPLICATION["runtime_env"]["env_vars"]
    assert given.keys() <= known
    assert all(isinstance(value, str) for value in given.values())


def test_stopping_waits_for_the_drain() -> None:
    drain_s = float(APPLICATION["runtime_env"]["env_vars"]["GANYMEDE_DRAIN_S"])
    assert DEPLOYMENT["graceful_shutdown_timeout_s"] > 2 * drain_s + GRACE_S


def test_replicas_refuse_before_rays_proxies_do() -> None:
    most = DEPLOYMENT["max_ongoing_requests"]
    assert most >= 2 * DEPLOYMENT["autoscaling_config"]["target_ongoing_requests"]
    assert DEPLOYMENT["max_queued_requests"] < most
    assert DEPLOYMENT["backpressure_config"]["status_code"] == 429
