"""What operators asked for, beyond what lies in the folders, and how one more wish changes it.

Nothing here touches a model: ``Repository.converge`` makes it so, ``control`` decides and keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, Strict

from service.errors import ChangeRefused, UnknownModel
from service.fields import suggest

EARLIER_KEPT = 32  # defaults to go back to, of each model

Version = Annotated[int, Strict(), Field(gt=0)]
ModelName = Annotated[str, Strict()]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- What may be asked for. ---


class LoadChange(_Frozen):
    """Serve a version that was unloaded, or every version."""

    action: Literal["load"] = "load"
    name: ModelName
    version: Version | None = None


class UnloadChange(_Frozen):
    """Serve a version no more, or the whole model, versions that are still to come included."""

    action: Literal["unload"] = "unload"
    name: ModelName
    version: Version | None = None


class ReloadChange(_Frozen):
    """Open a version anew from its files, or every version that is not unloaded."""

    action: Literal["reload"] = "reload"
    name: ModelName
    version: Version | None = None


class DefaultChange(_Frozen):
    """Answer with this version when none is pinned; None is the newest, whichever it is."""

    action: Literal["default"] = "default"
    name: ModelName
    version: Version | None


class RollbackChange(_Frozen):
    """Answer again with the default before this one."""

    action: Literal["rollback"] = "rollback"
    name: ModelName


Change: TypeAlias = Annotated[
    LoadChange | UnloadChange | ReloadChange | DefaultChange | RollbackChange,
    Field(discriminator="action"),
]


# --- What there is. ---


class Present(_Frozen):
    """The versions of one model: in the folders, serving, and why others that are wanted do not."""

    found: frozenset[int] = frozenset()
    serving: frozenset[int] = frozenset()
    failed: dict[int, str] = {}


class Failed(_Frozen):
    """A version that is wanted and in the folders, and does not serve, or not in its new form."""

    name: ModelName
    version: Version
    reason: str


# --- What is wanted. ---


class Wanted(_Frozen):
    """What was asked of one model."""

    default: Version | None = Field(
        None, description="answers when no version is pinned; None is the newest"
    )
    earlier: tuple[Version, ...] = Field((), description="the defaults before, the latest last")
    unloaded: tuple[Version, ...] | Literal["all"] = ()
    reloads: dict[Version, int] = Field({}, description="how often each version was opened anew")

    def unloads(self, version: int) -> bool:
        """Whether a version must not serve."""
        return self.unloaded == "all" or version in self.unloaded

    def answering(self, serving: Iterable[int]) -> int | None:
        """The version that answers when none is pinned, of those that serve."""
        versions = set(serving)
        return self.default if self.default in versions else max(versions, default=None)


class Desired(_Frozen):
    """Everything that was asked for; a model that is not in it is served as the folders say."""

    schema_version: Literal[1] = 1
    generation: int = Field(0, ge=0, description="how many changes were made")
    models: dict[ModelName, Wanted] = {}

    def of(self, name: str) -> Wanted:
        """What was asked of a model."""
        return self.models.get(name, _NOTHING)

    def unloads(self, name: str, version: int) -> bool:
        """Whether a version must not serve."""
        return self.of(name).unloads(version)

    def reloads(self, name: str, version: int) -> int:
        """How often a version was to be opened anew: loaded at another count, it is stale."""
        return self.of(name).reloads.get(version, 0)

    def changed(self, change: Change, present: Mapping[str, Present]) -> Desired:
        """What is wanted once ``change`` is; itself when that is wanted already.

        Raises:
            UnknownModel: there is no such model or version in the folders.
            ChangeRefused: it cannot be, and the detail says what can.
        """
        there = _there(change, present)
        before = self.of(change.name)
        match change:
            case LoadChange():
                after = _load(before, change.version, there)
            case UnloadChange():
                after = _unload(before, change)
            case ReloadChange():
                after = _reload(before, change, there)
            case DefaultChange():
                after = _choose(before, change, there)
            case RollbackChange():
                after = _roll_back(before, change.name, there)
        if after == before:
            return self
        models = {**self.models, change.name: after}
        return self.model_copy(update={"generation": self.generation + 1, "models": models})


_NOTHING = Wanted()


def _there(change: Change, present: Mapping[str, Present]) -> Present:
    """What there is of the model that a change names."""
    there = present.get(change.name, Present())
    if not there.found:
        names = sorted(name for name, each in present.items() if each.found)
        hint, _ = suggest(change.name, names)
        raise UnknownModel(
            f"there is no model {change.name!r} in the folders{hint or ';'} "
            f"there are: {', '.join(names) or 'none'}",
            models=names,
        )
    version = None if isinstance(change, RollbackChange) else change.version
    if version is not None and version not in there.found:
        known = sorted(there.found)
        raise UnknownModel(
            f"model {change.name!r} has no version {version} in the folders: "
            f"it has {', '.join(map(str, known))}",
            versions=known,
        )
    return there


def _load(wanted: Wanted, version: int | None, there: Present) -> Wanted:
    if version is None:
        still: Iterable[int] = ()
    else:
        still = there.found if wanted.unloaded == "all" else wanted.unloaded
    return wanted.model_copy(update={"unloaded": tuple(sorted(set(still) - {version}))})


def _unload(wanted: Wanted, change: UnloadChange) -> Wanted:
    if change.version is None:
        return wanted.model_copy(update={"unloaded": "all"})
    if wanted.unloads(change.version):
        return wanted
    if change.version == wanted.default:
        raise ChangeRefused(
            f"{change.name}/{change.version} is the default version: make another the default "
            "first, or unload the whole model"
        )
    assert wanted.unloaded != "all"
    unloaded = tuple(sorted({*wanted.unloaded, change.version}))
    return wanted.model_copy(update={"unloaded": unloaded})


def _reload(wanted: Wanted, change: ReloadChange, there: Present) -> Wanted:
    loaded = {version for version in there.found if not wanted.unloads(version)}
    chosen = loaded if change.version is None else {change.version} & loaded
    if not chosen:
        what = change.name if change.version is None else f"{change.name}/{change.version}"
        raise ChangeRefused(f"{what} is unloaded: load it")
    # Counts of versions that are gone are forgotten: should they return, they are loaded anyhow.
    counts = {version: wanted.reloads.get(version, 0) for version in there.found}
    reloads = {version: count + (version in chosen) for version, count in counts.items()}
    return wanted.model_copy(update={"reloads": {v: n for v, n in sorted(reloads.items()) if n}})


def _choose(wanted: Wanted, change: DefaultChange, there: Present) -> Wanted:
    if change.version is not None and wanted.unloads(change.version):
        raise ChangeRefused(
            f"{change.name}/{change.version} is unloaded: load it, then make it the default"
        )
    if change.version == wanted.default:
        return wanted
    if change.version is not None and change.version not in there.serving:
        why = there.failed.get(change.version, "it is not loaded")
        raise ChangeRefused(f"{change.name}/{change.version} does not serve: {why}")
    answering = wanted.answering(there.serving)
    known = answering is None or wanted.earlier[-1:] == (answering,)
    earlier = wanted.earlier if known else (*wanted.earlier, answering)
    return wanted.model_copy(update={"default": change.version, "earlier": earlier[-EARLIER_KEPT:]})


def _roll_back(wanted: Wanted, name: str, there: Present) -> Wanted:
    """To the last earlier default that serves; where none was chosen, to the next lower version."""
    serving = {version for version in there.serving if not wanted.unloads(version)}
    now = wanted.answering(serving)
    earlier = list(wanted.earlier)
    while earlier:
        version = earlier.pop()
        if version != now and version in serving:
            return wanted.model_copy(update={"default": version, "earlier": tuple(earlier)})
    lower = [version for version in serving if now is not None and version < now]
    if not lower:
        raise ChangeRefused(
            f"model {name!r} has nothing to go back to: no default was chosen before this one, "
            "and no lower version serves"
        )
    return wanted.model_copy(update={"default": max(lower), "earlier": ()})
