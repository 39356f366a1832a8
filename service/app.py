"""The application, and its routes about itself; those about pictures are in ``routes``.

Each route does one hop and hands over. Beside ``routes``, no other file knows the web framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

from service import __version__, cards, documentation
from service.bodies import LimitBody
from service.config import ServiceConfig
from service.control import Control, local_control
from service.dialects import Dialects
from service.documents import Health
from service.door import Door
from service.errors import MethodNotAllowed, ServiceError, UnknownModel
from service.generate import reply_cache
from service.guard import Guard
from service.keyring import Keyring
from service.limits import Buckets
from service.metrics import Metrics
from service.middleware import (
    Application,
    Arrivals,
    Receive,
    Scope,
    Send,
    UnderRootPath,
    header,
)
from service.observe import Observe
from service.openai import refusals as openai_refusals
from service.page import asset, page
from service.parsing import parse_version
from service.repository import Repository
from service.routes import admin, openai, pictures, v2
from service.routes.framework import (
    Routes,
    Shortcut,
    refusal,
    repository_of,
    require_ready,
    respond,
    root_path_of,
)
from service.tracing import open_traces
from service.v2 import refusals as v2_refusals

if TYPE_CHECKING:
    from service.spans import Traces

routes = Routes()


def create_app(
    config: ServiceConfig,
    repository: Repository | None = None,
    metrics: Metrics | None = None,
    control: Control | None = None,
    traces: Traces | None = None,
) -> FastAPI:
    """The service as an ASGI application, whose lifespan loads and unloads the models.

    It answers while they load, with 503: ``app.state.starting`` is the task that ends when they
    have, or raises when none ever will.

    Args:
        config: every setting.
        repository: of the models; made from ``config`` when left out.
        metrics: where everything is counted; new when left out.
        control: decides what serves; this process alone when left out.
        traces: where spans go; as ``config`` says when left out.
    """
    metrics = metrics or Metrics()
    models = repository or Repository(config, metrics)
    decides: Control = control or local_control(models, config)
    traces = traces or open_traces(config)
    app = _Surrounded(
        title="Ganymede",
        version=__version__,
        summary="Images from generative adversarial networks.",
        license_info={"name": "Apache-2.0"},
        lifespan=_lifespan(decides, models, traces),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.config, app.state.repository, app.state.metrics = config, models, metrics
    app.state.control, app.state.cache = decides, reply_cache(config, metrics)
    app.state.stopping, app.state.arrivals = False, Arrivals(config.timeout_s)
    for each in (pictures.routes, v2.routes, openai.routes, admin.routes, routes):
        app.include_router(each)
    app.add_exception_handler(ServiceError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.layers = _surround(app, config, metrics, traces)
    return app


def _lifespan(
    control: Control, models: Repository, traces: Traces | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.starting = asyncio.create_task(control.start())
        yield
        app.state.starting.cancel()
        await asyncio.gather(app.state.starting, return_exceptions=True)
        await models.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)

    return lifespan


class _Surrounded(FastAPI):
    """The framework's application inside our own layers, which it would surround with its own."""

    layers: Application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self.layers(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Without the framework's outermost layer, which would answer what ``Observe`` answers."""
        outermost = super().build_middleware_stack()
        assert isinstance(outermost, ServerErrorMiddleware)
        return outermost.app


def _surround(
    app: FastAPI, config: ServiceConfig, metrics: Metrics, traces: Traces | None
) -> Application:
    """The layers around the framework; a request meets the last one first."""
    layers: Application = partial(FastAPI.__call__, app)
    layers = Shortcut(layers, pictures.routes.shortcuts | openai.routes.shortcuts)
    state = app.state
    layers = Door(layers, state.repository, state.cache, metrics, config.queue_images)
    layers = LimitBody(layers, config.max_body_bytes, config.bodies_bytes, metrics)
    keyring = None
    if config.keys_file:
        shared = config.runtime_folder / "limits" if config.runtime_folder else None
        keyring = Keyring(config.keys_file, metrics, Buckets(shared))
    layers = Guard(layers, keyring, metrics, metrics_open=config.metrics_open)
    if config.cors_origins:
        layers = CORSMiddleware(
            layers,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    if config.root_path:
        layers = UnderRootPath(layers, config.root_path)
    layers = Observe(layers, metrics)
    if traces is not None:
        layers = traces.around(layers, config.root_path)
    dialects = {"/v1": openai_refusals.tell, "/v2": v2_refusals.tell}
    return Dialects(layers, dialects, config.root_path)


# --- Models. ---


@routes.on("/models")
async def list_models(request: Request) -> Response:
    """Every model that serves."""
    config: ServiceConfig = request.app.state.config
    return _json(cards.model_list(repository_of(request), config, root_path_of(request)))


@routes.on("/models/{name}")
async def show_model(request: Request, name: str) -> Response:
    """One model: its card and its whole manifest."""
    version = parse_version(request.query_params.multi_items())
    return _json(cards.model_page(repository_of(request), name, version, root_path_of(request)))


@routes.on("/models/{name}/preview.png")
async def show_preview(request: Request, name: str) -> Response:
    """A picture of the model's pictures, as its bundle brings it."""
    version = parse_version(request.query_params.multi_items())
    model = repository_of(request).get(name, version)
    tags = header(request.scope, b"if-none-match")
    return respond(await asyncio.to_thread(cards.preview, model, tags))


# --- Health and metrics. ---


@routes.on("/health/live")
async def show_live() -> Response:
    """The process answers."""
    return _json(Health(status="live"))


@routes.on("/health/ready")
async def show_ready(request: Request) -> Response:
    """Requests are accepted; else 503 with the reasons."""
    require_ready(request)
    return _json(Health(status="ready"))


@routes.on("/metrics")
async def show_metrics(request: Request) -> Response:
    """Every series, for Prometheus."""
    metrics: Metrics = request.app.state.metrics
    accept = request.headers.get("accept", "")
    body, content_type = await asyncio.to_thread(metrics.expose, accept)
    return Response(body, headers={"Content-Type": content_type})


# --- Pages for people. ---


@routes.on("/")
async def show_index(request: Request) -> Response:
    """The models, and a form that generates."""
    return respond(page("index", root_path_of(request)))


@routes.on("/docs")
async def show_docs(request: Request) -> Response:
    """The OpenAPI document for people."""
    return respond(page("docs", root_path_of(request)))


@routes.on("/openapi.json")
async def show_openapi(request: Request) -> Response:
    """The OpenAPI document."""
    document = documentation.document(request.app.openapi(), root_path_of(request))
    return Response(document, media_type="application/json")


@routes.on("/static/{name}")
async def show_asset(request: Request, name: str) -> Response:
    """A file of the pages."""
    return respond(asset(name, header(request.scope, b"if-none-match")))


# --- Documents and refusals. ---


def _json(document: Any) -> Response:  # noqa: ANN401
    return Response(document.model_dump_json(), media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return respond(refusal(request.scope, error))


async def _refuse_route(request: Request, error: Exception) -> Response:
    """No such page, or not with this method: what the framework refuses by itself."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        missing = UnknownModel(
            f"there is no page {request.url.path}: see {root_path_of(request)}/docs"
        )
        return await _refuse(request, missing)
    allowed = (error.headers or {})["Allow"]  # 405: it raises no third status
    detail = f"{request.method} is not answered here: use {allowed}"
    return await _refuse(request, MethodNotAllowed(detail, allowed=allowed.split(", ")))
