"""Every way to end badly is reached by a request, says what to change, and is never a surprise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import httpx
import onnx
import pytest
from fastapi import FastAPI

from export.bundle import fingerprint, write_manifest
from export.manifest import FixedSize, Manifest
from service.app import create_app
from service.catalogue import Catalogue
from service.config import ServiceConfig
from service.errors import (
    ChangeRefused,
    DeadlineExceeded,
    DeadlineUnmeetable,
    Forbidden,
    InferenceFailed,
    InvalidInput,
    MalformedRequest,
    MethodNotAllowed,
    NotAcceptable,
    NotReady,
    QueueFull,
    RateLimited,
    RequestTimeout,
    ServiceError,
    StateNotKept,
    StillChanging,
    TooLarge,
    Unauthorized,
    UnknownModel,
    UnsupportedMedia,
)
from service.metrics import Metrics
from service.model import Model
from service.problems import refuse
from service.repository import Repository
from tests.service.conftest import Serve
from tests.tiny import ONNX, tiny_bundle

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


def every_error(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for error in root.__subclasses__():
        yield error
        yield from every_error(error)


class BrokenModel:
    """A model whose every inference ends with one error."""

    def __init__(self, model: Model, error: Exception) -> None:
        self.bundle, self.manifest, self.digest = model.bundle, model.manifest, model.digest
        self._error = error

    async def infer(self, *_: object, **__: object) -> NoReturn:
        raise self._error


class OneModel:
    """A repository with one model, which no layer before the routes finds."""

    catalogue = Catalogue(None)
    reasons: tuple[str, ...] = ()

    def __init__(self, model: object) -> None:
        self._model = model

    def require_started(self) -> None: ...

    def get(self, *_: object) -> object:
        return self._model

    async def start(self, *_: object) -> None: ...
    async def close(self) -> None: ...


@pytest.fixture(scope="module")
async def tiny(config: ServiceConfig) -> AsyncIterator[Model]:
    repository = Repository(config, Metrics())
    await repository.start()
    yield repository.get("tiny")
    await repository.close()


def app_that_fails(config: ServiceConfig, tiny: Model, error: Exception) -> FastAPI:
    return create_app(config, cast(Repository, OneModel(BrokenModel(tiny, error))))


def checked_problem(reply: httpx.Response) -> dict[str, Any]:
    problem: dict[str, Any] = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["cache-control"] == "no-store"
    assert problem["status"] == reply.status_code
    assert {"type", "title", "detail"} <= set(problem)
    assert problem["request_id"] == reply.headers["x-request-id"]
    return problem


# --- The tree. ---


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: error.__name__)
async def test_every_error_of_the_tree_is_answered_as_a_problem(
    config: ServiceConfig, tiny: Model, serve: Serve, error: type[ServiceError]
) -> None:
    app = app_that_fails(config, tiny, error("say what to change", retry_after_s=2.2, hint=3))
    async with serve(app) as client:
        problem = checked_problem(await client.post("/generate", json={"seed": 1}))
    assert problem["status"] == error.status
    assert problem["title"] == error.title
    assert problem["type"] == f"urn:ganymede:problem:{error.__name__}"
    assert problem["detail"] == "say what to change"
    assert problem["hint"] == 3


@pytest.mark.parametrize("error", [QueueFull, DeadlineUnmeetable, NotReady, DeadlineExceeded])
async def test_refusals_tell_when_to_come_back(
    config: ServiceConfig, tiny: Model, serve: Serve, error: type[ServiceError]
) -> None:
    async with serve(app_that_fails(config, tiny, error("later", retry_after_s=2.2))) as client:
        assert (await client.post("/generate", json={})).headers["retry-after"] == "3"


REQUESTS: dict[type[ServiceError], dict[str, Any]] = {
    MalformedRequest: {"content": "{"},
    UnknownModel: {"json": {"model": "tinny"}},
    NotAcceptable: {"json": {"format": "jpeg"}, "headers": {"Accept": "image/png"}},
    TooLarge: {"content": b" " * (2**20 + 1)},
    UnsupportedMedia: {"content": "{}", "headers": {"Content-Type": "text/plain"}},
    InvalidInput: {"json": {"num_images": 0}},
}
PRODUCED_BY_FAKES = {QueueFull, DeadlineUnmeetable}
PRODUCED_BELOW = {MethodNotAllowed, NotReady, InferenceFailed, DeadlineExceeded}
PRODUCED_ELSEWHERE = {
    RequestTimeout,  # in test_bodies.py
    Unauthorized, Forbidden, RateLimited,  # in test_guard.py
    ChangeRefused, StateNotKept, StillChanging,  # in test_admin.py
}  # fmt: skip


def test_every_error_has_a_request_that_ends_with_it() -> None:
    assert set(every_error()) == {
        *REQUESTS,
        *PRODUCED_BY_FAKES,
        *PRODUCED_BELOW,
        *PRODUCED_ELSEWHERE,
    }


@pytest.mark.parametrize("error", REQUESTS, ids=lambda error: error.__name__)
async def test_a_bad_request_is_refused_for_its_reason(
    models_config: ServiceConfig, serve: Serve, error: type[ServiceError]
) -> None:
    wish = {"headers": JSON} | REQUESTS[error]
    async with serve(create_app(models_config)) as client:
        problem = checked_problem(await client.post("/generate", **wish))
        assert problem["type"] == f"urn:ganymede:problem:{error.__name__}"
        assert (await client.post("/generate", json={"seed": 1})).status_code == 200


@pytest.fixture
def models_config(config: ServiceConfig) -> ServiceConfig:
    return config.model_copy(update={"max_body_bytes": 2**20})


async def test_a_service_whose_models_are_not_loaded_is_not_ready(config: ServiceConfig) -> None:
    app = create_app(config)  # its lifespan was not entered
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/health/live")).json() == {"status": "live"}
        for reply in (
            await client.get("/health/ready"),
            await client.post("/generate", json={}),
            await client.get("/generate/tiny.png"),
        ):
            assert checked_problem(reply)["status"] == 503
            assert int(reply.headers["retry-after"]) >= 1
        assert (await client.get("/health/ready")).json()["reasons"]


async def test_a_service_that_stops_is_not_ready(config: ServiceConfig, serve: Serve) -> None:
    app = create_app(config)
    async with serve(app) as client:
        assert (await client.get("/health/ready")).json() == {"status": "ready"}
        app.state.stopping = True
        problem = checked_problem(await client.get("/health/ready"))
        assert problem["reasons"] == ["the service is shutting down"]


async def test_a_graph_that_fails_is_our_fault_and_keeps_its_secret(
    config: ServiceConfig, serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("poisoned")
    bundle = tiny_bundle(folder, classes=("good", "bad"))
    graph = onnx.load(bundle.file(ONNX))
    bias = next(tensor for tensor in graph.graph.initializer if tensor.name == "bias")
    one_class = onnx.numpy_helper.to_array(bias)[:1]  # class 1 is out of the graph's bounds
    bias.CopyFrom(onnx.numpy_helper.from_array(one_class, "bias"))
    onnx.save(graph, bundle.file(ONNX))
    republish(bundle.path, bundle.manifest)
    async with serve(create_app(config.model_copy(update={"models": (folder,)}))) as client:
        problem = checked_problem(await client.post("/generate", json={"label": "bad"}))
        assert problem["status"] == 500
        assert "onnx" not in json.dumps(problem).lower()
        good, bad = await asyncio.gather(
            client.post("/generate", json={"label": "good"}),
            client.post("/generate", json={"label": "bad"}),
        )
        assert (good.status_code, bad.status_code) == (200, 500)


def republish(path: Path, manifest: Manifest) -> None:
    files = {ONNX: fingerprint(path / ONNX)}
    write_manifest(path, manifest.model_copy(update={"files": files}))


async def test_an_unmet_deadline_is_told(config: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(config.model_copy(update={"timeout_s": 1e-9}))) as client:
        reply = await client.post("/generate", json={})
        assert checked_problem(reply)["status"] == 504
        assert int(reply.headers["retry-after"]) >= 1


async def test_a_failure_that_nobody_foresaw_is_a_problem_too(
    config: ServiceConfig, tiny: Model, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(app_that_fails(config, tiny, ZeroDivisionError("secret"))) as client:
        reply = await client.post("/generate", json={})
    problem = checked_problem(reply)
    assert problem["status"] == 500
    assert "secret" not in reply.text
    logged = next(record for record in caplog.records if record.exc_info)
    assert vars(logged)["request_id"] == problem["request_id"]


# --- The router's own refusals. ---


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/generate", 405),
        ("DELETE", "/generate", 405),
        ("POST", "/models", 405),
        ("BREW", "/generate", 405),
        ("GET", "/models/", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e%2fapp.py", 404),
        ("GET", "/static/..%2f..%2fapp.py", 404),
        ("GET", "/static/index.html", 404),
        ("GET", "/models/%00", 404),
        ("GET", "/models/none", 404),
        ("GET", "/models/tiny?version=7", 404),
        ("GET", "/models/tiny?version=one", 422),
        ("GET", "/models/tiny/preview.png?version=7", 404),
        ("GET", "/models/tiny/preview.png?version=one", 422),
        ("GET", "/models/tiny/preview.png", 404),
        ("GET", "/generate/tiny", 404),
        ("GET", "/generate/tiny.gif", 404),
        ("GET", "/generate/.png", 404),
        ("GET", "/generate/none.png", 404),
        ("GET", "/generate/tiny.png?version=7", 404),
        ("GET", "/generate/tiny.png?label=stor", 422),
        ("GET", "/generate/tiny.png?colour=red", 422),
        ("GET", "/generate/tiny.png?seed=%F0%28", 422),
        ("GET", "/generate/tiny.png?latents=1", 422),
    ],
)
async def test_refused_routes_are_problems(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    reply = await client.request(method, path)
    assert checked_problem(reply)["status"] == status
    assert ("allow" in reply.headers) == (status == 405)


async def test_methods_that_are_not_answered_are_counted_as_refusals(
    config: ServiceConfig, serve: Serve
) -> None:
    metrics = Metrics()
    async with serve(create_app(config, metrics=metrics)) as client:
        reply = await client.delete("/generate")
    assert checked_problem(reply)["type"] == "urn:ganymede:problem:MethodNotAllowed"
    assert b'ganymede_refusals_total{reason="invalid"} 1.0' in metrics.expose()[0]


async def test_an_unknown_model_names_the_nearest(client: httpx.AsyncClient) -> None:
    problem = (await client.post("/generate", json={"model": "tinny"})).json()
    assert "did you mean 'tiny'?" in problem["detail"]
    assert set(problem["models"]) == {"colour", "tiny"}


async def test_an_unknown_version_names_those_there_are(client: httpx.AsyncClient) -> None:
    problem = (await client.post("/generate", json={"model": "colour", "version": 3})).json()
    assert problem["versions"] == [1, 2]


def test_a_problem_can_tell_back_what_is_no_text() -> None:
    reply = refuse(InvalidInput("no class '\ud800'"), "1", Metrics())
    assert reply.body is not None
    assert json.loads(reply.body)["detail"] == "no class '?'"


# --- Nothing that a client sends gives a 500. ---

NASTY: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"null", 422),
    (b"[]", 422),
    (b'"generate"', 422),
    (b"\x00", 400),
    (b"\xff\xfe", 400),
    (b"{'seed': 1}", 400),
    (b'{"seed": 1', 400),
    (b'{"seed": NaN}', 422),
    (b'{"truncation": Infinity}', 422),
    (b'{"truncation": 1e999}', 422),
    (b'{"seed": ' + b"9" * 5000 + b"}", 400),
    (b'{"seed": 1e400}', 422),
    (b'{"noise": ' + b"9" * 400 + b"}", 422),
    (b'{"noise": NaN}', 422),
    (b'{"noise": {"a": [1]}}', 422),
    (b"[" * 100_000 + b"]" * 100_000, 400),
    (b'{"a": ' * 150 + b"1" + b"}" * 150, 422),
    (b'{"latents": ' + b"[" * 150 + b"]" * 150 + b"}", 422),
    (b'{"latents": [[1e308, 1e308, 0, 0, 0, 0, 0, 0]]}', 422),
    (b'{"latents": [[NaN, 0, 0, 0, 0, 0, 0, 0]]}', 422),
    (b'{"latents": [[' + b"9" * 400 + b", 0, 0, 0, 0, 0, 0, 0]]}", 422),
    (b'{"latents": {"z": 1}}', 422),
    (b'{"label": "\\ud800"}', 400),
    (b'{"label": "\\u0000"}', 422),
    (b'{"label": "' + b"\xc3\xa9" * 150 + b'"}', 422),
    (b'{"label": ' + b"9" * 400 + b"}", 422),
    (b'{"label": ["star", "star"], "num_images": 3}', 422),
    (b'{"label": [["star"]]}', 422),
    (b'{"label": true}', 422),
    (b'{"num_images": true}', 422),
    (b'{"num_images": 65}', 422),
    (b'{"num_images": -1}', 422),
    (b'{"num_images": 1e9}', 422),
    (b'{"num_images": 99999999999999999999}', 422),
    (b'{"quality": 50}', 422),
    (b'{"quality": 50, "format": "npy"}', 422),
    (b'{"version": 0}', 422),
    (b'{"version": 99999999999999999999}', 404),
    (b'{"model": ""}', 404),
    (b'{"model": "../tiny"}', 404),
    (b'{"model": "\\u0000"}', 404),
    (b'{"interpolate": {"from": 1, "to": 2, "steps": 99999999999999999999}}', 422),
    (b'{"\\u0000": 1}', 422),
    (b'{"__class__": 1, "model_config": 2, "scalars": 3, "self": 4}', 422),
]


@pytest.mark.parametrize(("body", "status"), NASTY)
async def test_a_nasty_body_is_refused_politely(
    client: httpx.AsyncClient, body: bytes, status: int
) -> None:
    reply = await client.post("/generate", content=body, headers=JSON)
    problem = checked_problem(reply)
    assert problem["status"] == status
    assert problem["detail"]


async def test_a_webp_grid_that_cannot_be_is_refused_before_inference(
    config: ServiceConfig, tiny: Model, serve: Serve
) -> None:
    wide = tiny.manifest.model_copy(update={"size": FixedSize(height=8, width=8192)})
    model = BrokenModel(tiny, AssertionError("inferred"))
    model.manifest = wide
    async with serve(create_app(config, cast(Repository, OneModel(model)))) as client:
        wish = {"num_images": 9, "seed": 1}
        reply = await client.post("/generate", json=wish, headers={"Accept": "image/webp"})
    (error,) = checked_problem(reply)["errors"]
    assert error["field"] == "num_images"
    assert "application/zip" in error["detail"]
