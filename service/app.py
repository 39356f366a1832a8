"""The application, and its routes about itself; those about pictures are in ``routes``.

Each route does one hop and hands over. Beside ``routes``, no other file knows the web framework.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from service import __version__, cards, documentation
from service.config import ServiceConfig
from service.documents import Health
from service.errors import MethodNotAllowed, NotReady, ServiceError, UnknownModel
from service.generate import reply_cache
from service.metrics import Metrics
from service.middleware import LimitBody, Observe, UnderRootPath, header
from service.page import asset, page
from service.parsing import parse_version
from service.problems import refuse
from service.pulse import beat
from service.repository import Repository
from service.routes import pictures
from service.routes.framework import Routes, repository_of, respond, root_path_of

logger = logging.getLogger(__name__)

routes = Routes()


def create_app(
    config: ServiceConfig, repository: Repository | None = None, metrics: Metrics | None = None
) -> FastAPI:
    """The service as an ASGI application, whose lifespan loads and unloads the models.

    It answers while they load, with 503: ``app.state.starting`` is the task that ends when they
    have, or raises when none ever will.

    Args:
        config: every setting.
        repository: of the models; made from ``config`` when left out.
        metrics: where everything is counted; new when left out.
    """
    metrics = metrics or Metrics()
    models = repository or Repository(config, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.starting = asyncio.create_task(models.start())
        pulse = asyncio.create_task(beat(metrics))
        yield
        app.state.starting.cancel()
        pulse.cancel()
        await asyncio.gather(app.state.starting, pulse, return_exceptions=True)
        await models.close()

    app = FastAPI(
        title="Ganymede",
        version=__version__,
        summary="Images from generative adversarial networks.",
        license_info={"name": "Apache-2.0"},
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.config, app.state.repository, app.state.metrics = config, models, metrics
    app.state.cache = reply_cache(config, metrics)
    app.state.stopping, app.state.reading = False, set()
    app.include_router(pictures.routes)
    app.include_router(routes)
    app.add_exception_handler(ServiceError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    _surround(app, config, metrics)
    return app


def _surround(app: FastAPI, config: ServiceConfig, metrics: Metrics) -> None:
    """Add the middleware; the last added is the first that a request meets."""
    app.add_middleware(LimitBody, limit_bytes=config.max_body_bytes, metrics=metrics)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    if config.root_path:
        app.add_middleware(UnderRootPath, root_path=config.root_path)
    app.add_middleware(Observe, metrics=metrics)


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
    reasons = repository_of(request).reasons
    if request.app.state.stopping:
        reasons = ("the service is shutting down",)
    if reasons:
        raise NotReady("; ".join(reasons), retry_after_s=1, reasons=list(reasons))
    return _json(Health(status="ready"))


@routes.on("/metrics")
async def show_metrics(request: Request) -> Response:
    """Every series, for Prometheus."""
    body, content_type = request.app.state.metrics.expose(request.headers.get("accept", ""))
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
    request_id: str = request.scope["request_id"]
    if error.status >= 500:
        logger.warning("%s", error.detail, extra={"request_id": request_id})
    return respond(refuse(error, request_id, request.app.state.metrics))


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
