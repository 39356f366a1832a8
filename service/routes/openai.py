"""The routes at ``/v1``; ``service.openai`` is what they hand over to."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from fastapi import Request, Response

from export.manifest import Manifest
from service.errors import UnknownModel
from service.generate import PARSED_INLINE_BYTES, Conditions, generate
from service.making import Progress, aside
from service.middleware import WhileWanted, header
from service.negotiation import Form
from service.openai.documents import OpenAIModel, OpenAIModels
from service.openai.images import RENDERED_INLINE_BYTES, has_prompts, render, understand
from service.openai.refusals import FIELDS, naming_the_model, told_as_400
from service.openai.schemas import ImagesRequest
from service.parsing import parse_json, parse_timeout, require_json
from service.replies import Reply
from service.routes.framework import Routes, body_of, repository_of

routes = Routes()


@routes.answer("/v1/images/generations", "POST")
async def openai_generate_images(request: Request) -> Reply:
    """Generate pictures of the class that the prompt names."""
    scope, state = request.scope, request.app.state
    require_json(header(scope, b"content-type"), header(scope, b"content-encoding"))
    body = await body_of(request)
    with told_as_400():
        large = len(body) > PARSED_INLINE_BYTES
        asked = await aside(large, parse_json, ImagesRequest, body)
        with naming_the_model():
            model = repository_of(request).get(asked.model, asked.version)
        progress: Progress = scope["progress"]
        progress.model, progress.version = model.manifest.name, model.manifest.version
        wanted = understand(asked, model.manifest)
        conditions = Conditions(
            Form("json", asked.output_format or "png"),
            timeout_s=parse_timeout(header(scope, b"x-request-timeout")),
            while_wanted=partial(WhileWanted, request.receive),
        )
    with told_as_400(FIELDS):
        reply = await generate(model, wanted, conditions, state.config, progress, state.cache)
    return await aside(len(reply.body or b"") > RENDERED_INLINE_BYTES, render, reply)


@routes.on("/v1/models")
async def openai_list_models(request: Request) -> Response:
    """Every model that takes a prompt."""
    catalogue = repository_of(request).catalogue
    manifests = [catalogue.answering(name).manifest for name in catalogue.names()]
    listed = OpenAIModels(data=[_card(each) for each in manifests if has_prompts(each)])
    return Response(listed.model_dump_json(), media_type="application/json")


@routes.on("/v1/models/{name}")
async def openai_show_model(request: Request, name: str) -> Response:
    """One model that takes a prompt."""
    with naming_the_model():
        manifest = repository_of(request).get(name).manifest
        if not has_prompts(manifest):
            raise UnknownModel(
                f"model {name!r} has no classes and reads no text: it takes no prompt, see /models"
            )
    return Response(_card(manifest).model_dump_json(), media_type="application/json")


def _card(manifest: Manifest) -> OpenAIModel:
    label = manifest.graph("generate").label
    classes = list(label.classes) if label else []
    return OpenAIModel(id=manifest.name, created=_seconds(manifest.created_utc), classes=classes)


def _seconds(created_utc: str) -> int:
    """Since 1970; 0 where a manifest that others wrote has no such time."""
    try:
        created = datetime.fromisoformat(created_utc)
    except ValueError:
        return 0
    return int((created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp())
