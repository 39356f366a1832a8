"""What ``GET /models`` tells of the models."""

from __future__ import annotations

import hashlib
import mimetypes
from typing import Any
from urllib.parse import quote

from export.manifest import Label, Scalar, Task, Text
from service.catalogue import Catalogue
from service.config import ServiceConfig
from service.documents import ModelCard, ModelList, ModelPage, RunCost, Schedule
from service.engine import Engine
from service.errors import ServiceError, UnknownModel
from service.lanes import Lanes
from service.model import Model
from service.replies import Reply, matches
from service.repository import Repository
from service.styles import told_latents

_SHOWN_FIRST: tuple[Task, ...] = ("generate", "translate")  # tasks whose knobs a card tells


def model_list(repository: Repository, config: ServiceConfig, root_path: str) -> ModelList:
    """A card for each model, in the version that answers when none is pinned."""
    catalogue, default = repository.catalogue, _default_name(repository)
    cards = [
        ModelCard(**_card(catalogue, catalogue.answering(name), default, root_path))
        for name in catalogue.names()
    ]
    limits = {
        "max_images": config.max_images,
        "max_body_bytes": config.max_body_bytes,
        "max_upload_pixels": config.max_upload_pixels,
    }
    return ModelList(models=cards, limits=limits)


def model_page(repository: Repository, name: str, version: int | None, root_path: str) -> ModelPage:
    """One model's card and manifest, in the version that is pinned or answers.

    Raises:
        UnknownModel: there is none of that name and version.
    """
    chosen = repository.get(name, version)
    card = _card(repository.catalogue, chosen, _default_name(repository), root_path)
    schedule = {name: _schedule(engine) for name, engine in chosen.engines.items()}
    manifest = chosen.manifest.model_dump(mode="json")
    return ModelPage(**card, schedule=schedule, manifest=manifest)


def _schedule(engine: Engine) -> Schedule:
    layout = engine.layout
    costs = [
        RunCost(**_lanes(lanes), row_elements=work, rows=rows, seconds=s)
        for lanes, table in engine.costs.items()
        for work, column in table.columns().items()
        for rows, s in column.items()
    ]
    return Schedule(
        **_lanes(layout.busy),
        max_batch_rows=engine.batcher.max_batch_rows,
        alone_threads=layout.alone.threads if layout.alone else None,
        alone_rows=layout.alone_rows,
        costs=costs,
    )


def _lanes(lanes: Lanes) -> dict[str, Any]:
    return {
        "lanes": lanes.count,
        "threads": lanes.threads,
        "cudnn_search": lanes.cudnn_search,
        "cuda_graphs": lanes.cuda_graphs,
    }


def preview(model: Model, known_tags: str | None) -> Reply:
    """The preview that the bundle brings; reads a file.

    Raises:
        UnknownModel: it brings none.
    """
    manifest = model.manifest
    try:
        if manifest.preview is None:
            raise FileNotFoundError
        body = model.bundle.file(manifest.preview).read_bytes()
    except FileNotFoundError:
        raise UnknownModel(
            f"model {manifest.name!r} brings no preview: see /generate/{manifest.name}.png?seed=0"
        ) from None
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "public, max-age=60"}
    if matches(known_tags, etag):
        return Reply(304, headers=headers)
    media_type = mimetypes.guess_type(manifest.preview)[0] or "image/png"
    return Reply(200, body, headers | {"Content-Type": media_type})


def _default_name(repository: Repository) -> str | None:
    try:
        return repository.get(None).manifest.name
    except ServiceError:
        return None


def _card(
    catalogue: Catalogue, model: Model, default: str | None, root_path: str
) -> dict[str, Any]:
    """The members of a model's card; ``default`` is the model that answers who names none."""
    manifest = model.manifest
    pin = "" if model is catalogue.answering(manifest.name) else f"&version={manifest.version}"
    generates = "generate" in manifest.tasks
    tasks = [task for task in (*_SHOWN_FIRST, *manifest.tasks) if task in manifest.tasks]
    inputs = manifest.graph(tasks[0]).inputs
    reads = next((list(entry.examples) for entry in inputs if isinstance(entry, Text)), None)
    classes = next((list(entry.classes) for entry in inputs if isinstance(entry, Label)), None)
    name = quote(manifest.name)
    drawn = f"{root_path}/generate/{name}.png?seed=0&num_images=9{pin}" if generates else None
    brought = f"{root_path}/models/{name}/preview.png{pin.replace('&', '?')}"
    return {
        "name": manifest.name,
        "version": manifest.version,
        "versions": [each.manifest.version for each in catalogue.versions(manifest.name)],
        "notice": catalogue.notice(manifest.name),
        "ready": model.alive,
        "default": manifest.name == default,
        "tasks": list(manifest.tasks),
        "description": manifest.description,
        "classes": classes,
        "texts": reads,
        "reference": list(told_latents(manifest)),
        "scalars": {
            entry.name: {"low": entry.low, "high": entry.high, "default": entry.default}
            for entry in inputs
            if isinstance(entry, Scalar)
        },
        "preview": brought if manifest.preview else drawn,
        "licence": manifest.licence.name,
    }
