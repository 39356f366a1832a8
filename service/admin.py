"""What ``/admin`` is asked and what it tells, as pydantic models, and how the second is told."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.desired import Version
from service.errors import UnknownModel
from service.fields import suggest
from service.folders import Found, Hidden, Identity
from service.repository import Repository

State = Literal["serving", "failed", "unloaded", "superseded", "loading"]


class AnyVersion(BaseModel):
    """The body of load, unload and reload; it may be left out."""

    model_config = ConfigDict(extra="forbid")

    version: Version | None = Field(None, description="every version of the model when left out")


class ChosenVersion(BaseModel):
    """The body of default."""

    model_config = ConfigDict(extra="forbid")

    version: Version | None = Field(description="null follows the newest, whichever it is")


class Nothing(BaseModel):
    """The body of rollback, which may be left out."""

    model_config = ConfigDict(extra="forbid")


class AdminVersion(BaseModel):
    """One version of a model in the folders."""

    version: int
    state: State = Field(
        description="superseded: an earlier folder has the same version. loading: not looked at yet"
    )
    default: bool = Field(description="answers when no version is pinned")
    reason: str | None = Field(
        description="why it does not serve, or why what serves is not what now lies in the folder"
    )
    notice: str | None = Field(description="what to know of it, though it serves")
    path: str
    digest: str | None = Field(description="SHA-256 of the manifest of what serves")
    reloads: int = Field(description="how often it was to be opened anew")


class AdminModel(BaseModel):
    """One model: what was asked of it, and what became of its versions."""

    name: str
    chosen_default: int | None = Field(description="null: the newest answers")
    earlier_defaults: list[int] = Field(description="what rollback goes back to, the latest last")
    notice: str | None = Field(description="says when the chosen default is not there")
    versions: list[AdminVersion]


class AdminModels(BaseModel):
    """Every model in the folders."""

    generation: int = Field(description="how many changes were made")
    models: list[AdminModel]


def admin_models(repository: Repository) -> AdminModels:
    """Every version found at the last look, and what became of it."""
    versions: dict[str, list[AdminVersion]] = {}
    for identity, found in sorted(repository.inventory.found.items()):
        versions.setdefault(identity[0], []).append(_version(repository, identity, found))
    for failure in repository.failures:
        if isinstance(failure, Hidden):
            versions[failure.path.parent.name].append(_hidden(failure))
    return AdminModels(
        generation=repository.desired.generation,
        models=[_model(repository, name, versions[name]) for name in sorted(versions)],
    )


def admin_model(repository: Repository, name: str) -> AdminModel:
    """One of them.

    Raises:
        UnknownModel: there is none of that name in the folders.
    """
    models = {model.name: model for model in admin_models(repository).models}
    if name not in models:
        hint, _ = suggest(name, list(models))
        raise UnknownModel(f"there is no model {name!r} in the folders{hint}", models=list(models))
    return models[name]


def _model(repository: Repository, name: str, versions: list[AdminVersion]) -> AdminModel:
    wanted = repository.desired.of(name)
    return AdminModel(
        name=name,
        chosen_default=wanted.default,
        earlier_defaults=list(wanted.earlier),
        notice=repository.catalogue.notice(name),
        versions=sorted(versions, key=lambda each: each.version),
    )


def _version(repository: Repository, identity: Identity, found: Found) -> AdminVersion:
    name, version = identity
    model = repository.catalogue.find(identity)
    failure = repository.inventory.failure(identity)
    return AdminVersion(
        version=version,
        state=_state(repository, identity),
        default=model is not None and model is repository.catalogue.answering(name),
        reason=failure.reason if failure else model.trouble if model else None,
        notice=model.notice if model else None,
        path=str(found.path),
        digest=model.digest if model else None,
        reloads=repository.desired.reloads(name, version),
    )


def _state(repository: Repository, identity: Identity) -> State:
    if repository.catalogue.find(identity) is not None:
        return "serving"
    if repository.desired.unloads(*identity):
        return "unloaded"
    return "failed" if repository.inventory.failure(identity) else "loading"


def _hidden(failure: Hidden) -> AdminVersion:
    return AdminVersion(
        version=int(failure.path.name),
        state="superseded",
        default=False,
        reason=failure.reason,
        notice=None,
        path=str(failure.path),
        digest=None,
        reloads=0,
    )
