"""The routes of the V2 inference protocol; ``service.v2`` is what they hand over to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import Request, Response
from pydantic import BaseModel, TypeAdapter

from service.control import Control
from service.desired import Change, LoadChange, UnloadChange
from service.errors import InvalidInput, MalformedRequest, NotReady, UnknownModel, UnsupportedMedia
from service.making import Progress
from service.middleware import WhileWanted, header
from service.model import RETRY_AFTER_S, Model
from service.parsing import media_type_of, parse_timeout
from service.routes.framework import Route, Routes, body_of, repository_of, require_ready, respond
from service.v2 import describing
from service.v2.documents import IndexEntry, V2Live, V2ModelReady, V2Ready
from service.v2.inferring import Envelope, infer
from service.v2.parsing import parse_document
from service.v2.schemas import ControlRequest, IndexRequest

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_BODIES = ("", "application/json", "application/octet-stream")
_INDEX = TypeAdapter(list[IndexEntry])


class V2Routes(Routes):
    """Paths and the functions that answer them."""

    def on_model(self, about: str = "", method: str = "GET") -> Callable[[Route], Route]:
        """Register a function for a model's path, and for the one that pins its version."""

        def register(function: Route) -> Route:
            async def of_version(request: Request) -> Response:
                response: Response = await function(request)
                return response

            of_version.__name__ = f"{function.__name__}_of_version"
            self.on(f"/v2/models/{{name}}{about}", method)(function)
            self.on(f"/v2/models/{{name}}/versions/{{version}}{about}", method)(of_version)
            return function

        return register


routes = V2Routes()


# --- The server. ---


@routes.on("/v2")
async def v2_show_server(request: Request) -> Response:
    """The name of the service, and the extensions that it has."""
    return _json(describing.server())


@routes.on("/v2/health/live")
async def v2_show_live(request: Request) -> Response:
    """The process answers."""
    return _json(V2Live(live=True))


@routes.on("/v2/health/ready")
async def v2_show_ready(request: Request) -> Response:
    """Requests are accepted; else 503 with the reasons."""
    require_ready(request)
    return _json(V2Ready(live=True, ready=True))


@routes.on("/v2/models/stats")
async def v2_show_all_statistics(request: Request) -> Response:
    """What every model has done."""
    return _json(describing.statistics(repository_of(request).models()))


@routes.on("/v2/repository/index", "POST")
async def v2_list_repository(request: Request) -> Response:
    """Every version of every model, ready or not."""
    body = await body_of(request)
    with _told_as_400():
        asked = parse_document(IndexRequest, body or b"{}")
    entries = describing.index(repository_of(request), ready_only=asked.ready)
    return Response(_INDEX.dump_json(entries), media_type="application/json")


@routes.on("/v2/repository/models/{name}/load", "POST")
async def v2_load_model(request: Request, name: str) -> Response:
    """Serve a model: all its versions, as they now lie in the folders."""
    return await _change(request, LoadChange(name=name))


@routes.on("/v2/repository/models/{name}/unload", "POST")
async def v2_unload_model(request: Request, name: str) -> Response:
    """Serve a model no more."""
    return await _change(request, UnloadChange(name=name))


async def _change(request: Request, change: Change) -> Response:
    body = await body_of(request)
    with _told_as_400():
        asked = parse_document(ControlRequest, body or b"{}")
    for parameter in asked.parameters:
        if parameter == "config" or parameter.startswith("file:"):
            raise MalformedRequest(
                "a bundle brings its own configuration and files: put another into a folder of "
                "models, and leave the parameters config and file: out"
            )
    control: Control = request.app.state.control
    await control.change(change)
    return Response()


# --- One model. ---


@routes.on_model()
async def v2_show_model(request: Request) -> Response:
    """The tensors of a model."""
    model = _model(request)
    others = [
        other.manifest.version
        for other in repository_of(request).models()
        if other.manifest.name == model.manifest.name
    ]
    return _json(describing.metadata(model, others))


@routes.on_model("/ready")
async def v2_show_model_ready(request: Request) -> Response:
    """The model answers; else 503 with the reason."""
    model = _model(request)
    if model.trouble:
        name = f"{model.manifest.name}/{model.manifest.version}"
        raise NotReady(f"model {name} {model.trouble}", retry_after_s=RETRY_AFTER_S)
    return _json(V2ModelReady(name=model.manifest.name, ready=True))


@routes.on_model("/config")
async def v2_show_config(request: Request) -> Response:
    """How a model is asked and run."""
    return _json(describing.configuration(_model(request), request.app.state.config))


@routes.on_model("/stats")
async def v2_show_statistics(request: Request) -> Response:
    """What a model has done: all its versions, unless one is pinned."""
    model = _model(request)
    models = [model]
    if "version" not in request.path_params:
        everything = repository_of(request).models()
        models = [each for each in everything if each.manifest.name == model.manifest.name]
    return _json(describing.statistics(models))


@routes.on_model("/infer", "POST")
async def v2_infer(request: Request) -> Response:
    """Answer tensors with tensors."""
    scope = request.scope
    content_type = header(scope, b"content-type")
    media_type = media_type_of(content_type, header(scope, b"content-encoding"))
    if media_type not in _BODIES:
        raise UnsupportedMedia(
            f"the body is {media_type}: send application/json, or application/octet-stream when "
            "binary tensors follow the JSON"
        )
    model = _model(request)
    progress: Progress = scope["progress"]
    progress.model, progress.version = model.manifest.name, model.manifest.version
    body = await body_of(request)
    with _told_as_400():
        timeout_s = parse_timeout(header(scope, b"x-request-timeout"))
        length = header(scope, b"inference-header-content-length")
        envelope = Envelope(body, length, timeout_s)
        async with WhileWanted(request.receive):
            reply = await infer(model, envelope, request.app.state.config, progress)
    return respond(reply)


def _model(request: Request) -> Model:
    """The model that the path names."""
    name, version = request.path_params["name"], request.path_params.get("version")
    if version is not None and not _VERSION.fullmatch(version):
        raise UnknownModel(f"versions are whole numbers above 0, not {version[:20]!r}")
    return repository_of(request).get(name, int(version) if version else None)


def _json(document: BaseModel) -> Response:
    content = document.model_dump_json(exclude_none=True)
    return Response(content, media_type="application/json")


@contextmanager
def _told_as_400() -> Iterator[None]:
    """The protocol has one status for all that is wrong with a request's values."""
    try:
        yield
    except InvalidInput as error:
        raise MalformedRequest(error.detail) from None
