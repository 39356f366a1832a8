"""The routes: the only file that knows the web framework. Each does one hop and hands over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from service import __version__, cards, documentation
from service.config import ServiceConfig
from service.errors import MethodNotAllowed, NotReady, ServiceError, UnknownModel
from service.generate import PARSED_INLINE_BYTES, Conditions, aside, generate
from service.metrics import Metrics
from service.middleware import (
    ClientGone,
    LimitBody,
    Observe,
    UnderRootPath,
    arrives_within,
    cancelled_when_gone,
    header,
)
from service.negotiation import Form, negotiate
from service.page import asset, page
from service.parsing import parse_body, parse_query, parse_timeout, parse_version, require_json
from service.problems import refuse
from service.replies import Reply
from service.repository import Repository
from service.schemas import GenerateQuery, Health, ImageFormat

logger = logging.getLogger(__name__)

EXTENSIONS: dict[str, ImageFormat] = {
    "png": "png",
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "webp": "webp",
}

Route = TypeVar("Route", bound=Callable[..., Any])
router = APIRouter()


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
        yield
        app.state.starting.cancel()
        await asyncio.gather(app.state.starting, return_exceptions=True)
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
    app.state.stopping, app.state.reading = False, set()
    app.include_router(router)
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


def route(path: str, method: str = "GET") -> Callable[[Route], Route]:
    """Register a function for a path, as the OpenAPI document describes it.

    What answers GET answers HEAD too, as HTTP asks.
    """

    def register(function: Route) -> Route:
        described = documentation.operation(function.__name__)
        router.add_api_route(path, function, methods=[method], **described)
        if method == "GET":
            router.add_api_route(path, function, methods=["HEAD"], include_in_schema=False)
        return function

    return register


# --- Pictures. ---


@route("/generate", "POST")
async def generate_images(request: Request) -> Response:
    """Generate pictures. ``Accept`` is the container, ``format`` the encoding of each image."""
    scope, state = request.scope, request.app.state
    require_json(header(scope, b"content-type"), header(scope, b"content-encoding"))
    try:
        async with arrives_within(state.config.timeout_s, state.reading):
            body = await request.body()
    except ClientDisconnect:
        raise ClientGone from None
    asked = await aside(len(body) > PARSED_INLINE_BYTES, parse_body, body)
    form = negotiate(header(scope, b"accept"), asked.format)
    return await _generate(request, asked.model, asked, form)


@route("/generate/{file}")
async def generate_file(request: Request, file: str) -> Response:
    """The same as a plain URL, fit for an ``img`` tag: ``/generate/{model}.png?seed=7``.

    ``file`` is a model's name and ``.png``, ``.jpeg``, ``.jpg`` or ``.webp``. With a seed the reply
    may be cached; several images become a grid. Every scalar input of the model is a parameter.
    """
    name, dot, extension = file.rpartition(".")
    if not dot or extension.lower() not in EXTENSIONS:
        raise UnknownModel(
            f"{file!r} is not a model's name and an extension: end it with one of "
            + ", ".join(f".{known}" for known in EXTENSIONS)
        )
    asked = parse_query(request.query_params.multi_items())
    form = Form("image", EXTENSIONS[extension.lower()])
    return await _generate(request, name, asked, form, plain_url=True)


async def _generate(
    request: Request, name: str | None, asked: GenerateQuery, form: Form, *, plain_url: bool = False
) -> Response:
    progress = request.scope["progress"]
    model = _repository(request).get(name, asked.version)
    progress.model, progress.version = model.manifest.name, model.manifest.version
    known_tags = header(request.scope, b"if-none-match")
    timeout_s = parse_timeout(header(request.scope, b"x-request-timeout"))
    conditions = Conditions(form, plain_url, request.method == "HEAD", known_tags, timeout_s)
    async with cancelled_when_gone(request.receive):
        reply = await generate(model, asked, conditions, request.app.state.config, progress)
    return _response(reply)


# --- Models. ---


@route("/models")
async def list_models(request: Request) -> Response:
    """Every model that serves."""
    config: ServiceConfig = request.app.state.config
    return _json(cards.model_list(_repository(request), config, _root_path(request)))


@route("/models/{name}")
async def show_model(request: Request, name: str) -> Response:
    """One model: its card and its whole manifest."""
    version = parse_version(request.query_params.multi_items())
    return _json(cards.model_page(_repository(request), name, version, _root_path(request)))


@route("/models/{name}/preview.png")
async def show_preview(request: Request, name: str) -> Response:
    """A picture of the model's pictures, as its bundle brings it."""
    version = parse_version(request.query_params.multi_items())
    model = _repository(request).get(name, version)
    tags = header(request.scope, b"if-none-match")
    return _response(await asyncio.to_thread(cards.preview, model, tags))


# --- Health and metrics. ---


@route("/health/live")
async def show_live() -> Response:
    """The process answers."""
    return _json(Health(status="live"))


@route("/health/ready")
async def show_ready(request: Request) -> Response:
    """Requests are accepted; else 503 with the reasons."""
    reasons = _repository(request).reasons
    if request.app.state.stopping:
        reasons = ("the service is shutting down",)
    if reasons:
        raise NotReady("; ".join(reasons), retry_after_s=1, reasons=list(reasons))
    return _json(Health(status="ready"))


@route("/metrics")
async def show_metrics(request: Request) -> Response:
    """Every series, for Prometheus."""
    body, content_type = request.app.state.metrics.expose(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})


# --- Pages for people. ---


@route("/")
async def show_index(request: Request) -> Response:
    """The models, and a form that generates."""
    return _response(page("index", _root_path(request)))


@route("/docs")
async def show_docs(request: Request) -> Response:
    """The OpenAPI document for people."""
    return _response(page("docs", _root_path(request)))


@route("/openapi.json")
async def show_openapi(request: Request) -> Response:
    """The OpenAPI document."""
    document = documentation.document(request.app.openapi(), _root_path(request))
    return Response(document, media_type="application/json")


@route("/static/{name}")
async def show_asset(request: Request, name: str) -> Response:
    """A file of the pages."""
    return _response(asset(name, header(request.scope, b"if-none-match")))


# --- From and to the web framework. ---


def _repository(request: Request) -> Repository:
    repository: Repository = request.app.state.repository
    return repository


def _root_path(request: Request) -> str:
    root_path: str = request.scope.get("root_path", "")
    return root_path


def _response(reply: Reply) -> Response:
    response = Response(reply.body, reply.status, reply.headers)
    if reply.body is None:
        del response.headers["content-length"]
    return response


def _json(document: Any) -> Response:  # noqa: ANN401
    return Response(document.model_dump_json(), media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    request_id: str = request.scope["request_id"]
    if error.status >= 500:
        logger.warning("%s", error.detail, extra={"request_id": request_id})
    return _response(refuse(error, request_id, request.app.state.metrics))


async def _refuse_route(request: Request, error: Exception) -> Response:
    """No such page, or not with this method: what the framework refuses by itself."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        missing = UnknownModel(
            f"there is no page {request.url.path}: see {_root_path(request)}/docs"
        )
        return await _refuse(request, missing)
    allowed = (error.headers or {})["Allow"]  # 405: it raises no third status
    detail = f"{request.method} is not answered here: use {allowed}"
    return await _refuse(request, MethodNotAllowed(detail, allowed=allowed.split(", ")))
