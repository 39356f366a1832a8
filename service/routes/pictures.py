"""The routes about pictures: drawn, translated, encoded, scored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TypeVar

from fastapi import Request, Response

from service.config import ServiceConfig
from service.door import refusal_unless_kept
from service.errors import UnknownModel
from service.generate import PARSED_INLINE_BYTES, Conditions, generate, graph_for
from service.making import Progress, aside
from service.middleware import WhileWanted, header
from service.model import Model
from service.negotiation import Form, negotiate, negotiate_numbers
from service.parsing import parse_body, parse_query, parse_timeout, require_json
from service.reading import Reading, read, translate
from service.replies import Reply
from service.routes.framework import Routes, body_of, refusal, repository_of, respond
from service.schemas import (
    GenerateQuery,
    ImageFormat,
    ImageRequest,
    ReadRequest,
    TranslateRequest,
)
from service.uploads import Upload, parse_upload, require_upload

EXTENSIONS: dict[str, ImageFormat] = {
    "png": "png",
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "webp": "webp",
}

Asked = TypeVar("Asked", bound=ImageRequest)
routes = Routes()


@routes.answer("/generate", "POST")
async def generate_images(request: Request) -> Reply:
    """Generate pictures. ``Accept`` is the container, ``format`` the encoding of each image."""
    scope = request.scope
    require_json(header(scope, b"content-type"), header(scope, b"content-encoding"))
    body = await body_of(request)
    if (full := refusal_unless_kept(scope, body)) is not None:
        return refusal(scope, full)
    asked = await aside(len(body) > PARSED_INLINE_BYTES, parse_body, body)
    del body  # it may be large, and the answer is still to be waited for
    form = negotiate(header(scope, b"accept"), asked.format)
    return await _generate(request, asked.model, asked, form)


@routes.on("/generate/{file}")
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
    return respond(await _generate(request, name, asked, form, plain_url=True))


async def _generate(
    request: Request, name: str | None, asked: GenerateQuery, form: Form, *, plain_url: bool = False
) -> Reply:
    model = _model(request, name, asked.version)
    while_wanted = partial(WhileWanted, request.receive)
    conditions = _conditions(request, form, plain_url=plain_url, while_wanted=while_wanted)
    cache = request.app.state.cache
    return await generate(model, asked, conditions, *_surroundings(request), cache)


@routes.answer("/translate", "POST")
async def translate_image(request: Request) -> Reply:
    """Make pictures from a picture. ``Accept`` is the container, as for ``/generate``.

    The picture comes as a form (``image`` is the file, the other fields beside it), as the body
    itself (``Content-Type: image/png`` or the like, the fields in the query), or in JSON as base64.
    What it is is read from its content. Transparency is laid on white, unless the model takes four
    channels; of an animation the first frame counts. A second picture, ``reference``, gives its
    style to the pictures, where the model's page lists what a reference tells.
    """
    upload = await _upload(request, TranslateRequest)
    form = negotiate(header(request.scope, b"accept"), upload.request.format)
    model = _model(request, upload.request.model, upload.request.version)
    conditions = _conditions(request, form)
    async with WhileWanted(request.receive):
        cache = request.app.state.cache
        return await translate(model, upload, conditions, *_surroundings(request), cache)


@routes.answer("/encode", "POST")
async def encode_image(request: Request) -> Reply:
    """Tell the vector of a picture, sent as for ``/translate``: as JSON or as an npy file."""
    return await _read(request, "encode")


@routes.answer("/score", "POST")
async def score_image(request: Request) -> Reply:
    """Tell the score of a picture, sent as for ``/translate``.

    Where a model also tells it pixel by pixel, an npy file is that map, and the header
    ``Ganymede-Scores`` has the scores.
    """
    return await _read(request, "score")


async def _read(request: Request, task: Reading) -> Reply:
    upload = await _upload(request, ReadRequest)
    model = _model(request, upload.request.model, upload.request.version)
    array = any(output.kind == "vector" for output in graph_for(task, model.manifest).outputs)
    form = negotiate_numbers(header(request.scope, b"accept"), array=array)
    conditions = _conditions(request, form)
    async with WhileWanted(request.receive):
        return await read(task, model, upload, conditions, *_surroundings(request))


async def _upload(request: Request, schema: type[Asked]) -> Upload[Asked]:
    content_type = header(request.scope, b"content-type") or ""
    require_upload(content_type, header(request.scope, b"content-encoding"))
    body = await body_of(request)
    large = len(body) > PARSED_INLINE_BYTES
    query = request.query_params.multi_items()
    return await aside(large, parse_upload, schema, content_type, body, query)


def _model(request: Request, name: str | None, version: int | None) -> Model:
    """The model asked for, noted as the request's."""
    model = repository_of(request).get(name, version)
    progress: Progress = request.scope["progress"]
    progress.model, progress.version = model.manifest.name, model.manifest.version
    return model


def _conditions(
    request: Request,
    form: Form,
    *,
    plain_url: bool = False,
    while_wanted: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> Conditions:
    known_tags = header(request.scope, b"if-none-match")
    timeout_s = parse_timeout(header(request.scope, b"x-request-timeout"))
    head_only = request.method == "HEAD"
    return Conditions(form, plain_url, head_only, known_tags, timeout_s, while_wanted)


def _surroundings(request: Request) -> tuple[ServiceConfig, Progress]:
    return request.app.state.config, request.scope["progress"]
