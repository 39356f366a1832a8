"""``/admin``: what serves, and how it is changed meanwhile.

These routes do what they are told by whoever reaches them. Who that is, is decided before.
"""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import BaseModel

from service.admin import AnyVersion, ChosenVersion, Nothing, admin_model, admin_models
from service.control import Control
from service.desired import (
    Change,
    DefaultChange,
    LoadChange,
    ReloadChange,
    RollbackChange,
    UnloadChange,
)
from service.parsing import Schema, parse_json, require_json
from service.routes.framework import Routes, body_of, repository_of

routes = Routes()


@routes.on("/admin/models")
async def list_versions(request: Request) -> Response:
    """Every version in the folders, and what became of it."""
    return _json(admin_models(repository_of(request)))


@routes.on("/admin/models/{name}/load", "POST")
async def load_model(request: Request, name: str) -> Response:
    """Serve a version that was unloaded, or every version."""
    version = (await _read(request, AnyVersion)).version
    return await _change(request, LoadChange(name=name, version=version))


@routes.on("/admin/models/{name}/unload", "POST")
async def unload_model(request: Request, name: str) -> Response:
    """Serve a version no more, or the whole model."""
    version = (await _read(request, AnyVersion)).version
    return await _change(request, UnloadChange(name=name, version=version))


@routes.on("/admin/models/{name}/reload", "POST")
async def reload_model(request: Request, name: str) -> Response:
    """Open a version anew from its files, or every version."""
    version = (await _read(request, AnyVersion)).version
    return await _change(request, ReloadChange(name=name, version=version))


@routes.on("/admin/models/{name}/default", "POST")
async def choose_default(request: Request, name: str) -> Response:
    """Answer with this version when none is pinned."""
    version = (await _read(request, ChosenVersion)).version
    return await _change(request, DefaultChange(name=name, version=version))


@routes.on("/admin/models/{name}/rollback", "POST")
async def roll_back(request: Request, name: str) -> Response:
    """Answer again with the default before this one."""
    await _read(request, Nothing)
    return await _change(request, RollbackChange(name=name))


async def _read(request: Request, schema: type[Schema]) -> Schema:
    """The body, which may be left out where nothing in it is required."""
    body = await body_of(request)
    if body:
        headers = request.headers
        require_json(headers.get("content-type"), headers.get("content-encoding"))
    return parse_json(schema, body or b"{}")


async def _change(request: Request, change: Change) -> Response:
    """Make the change, and tell what became of its model."""
    control: Control = request.app.state.control
    await control.change(change)
    return _json(admin_model(repository_of(request), change.name))


def _json(document: BaseModel) -> Response:
    return Response(document.model_dump_json(), media_type="application/json")
