"""What the OpenAPI document says of ``/admin``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from service.admin import AdminModel, AdminModels, AnyVersion, ChosenVersion, Nothing
from service.errors import (
    ChangeRefused,
    InvalidInput,
    MalformedRequest,
    NotReady,
    RequestTimeout,
    StateNotKept,
    StillChanging,
    TooLarge,
    UnknownModel,
    UnsupportedMedia,
)
from service.responses import answers, reference

ADMIN_SCHEMAS: tuple[type[BaseModel], ...] = (
    AdminModel,
    AdminModels,
    AnyVersion,
    ChosenVersion,
    Nothing,
)


def _change(summary: str, body: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """A route that changes what serves, and answers with the model as it is then."""
    content = {"application/json": {"schema": reference(body), "example": example}}
    described = {"required": body is ChosenVersion, "content": content}
    return {
        "summary": summary,
        "tags": ["administration"],
        "openapi_extra": {"requestBody": described},
        "responses": answers(
            AdminModel,
            MalformedRequest,
            UnknownModel,
            RequestTimeout,
            ChangeRefused,
            TooLarge,
            UnsupportedMedia,
            InvalidInput,
            StateNotKept,
            NotReady,
            StillChanging,
        ),
    }


ADMIN_OPERATIONS: dict[str, dict[str, Any]] = {
    "list_versions": {
        "summary": "List every version in the folders",
        "tags": ["administration"],
        "responses": answers(AdminModels),
    },
    "load_model": _change("Serve what was unloaded", AnyVersion, {"version": 2}),
    "unload_model": _change("Serve no more", AnyVersion, {"version": 2}),
    "reload_model": _change("Open anew from the files", AnyVersion, {"version": 2}),
    "choose_default": _change("Choose the version that answers", ChosenVersion, {"version": 2}),
    "roll_back": _change("Go back to the default before", Nothing, {}),
}
