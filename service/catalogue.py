"""The models that serve, by name and version, and which of them answers whom."""

from __future__ import annotations

from export.bundle import Bundle
from export.manifest import Task
from service.desired import Desired
from service.errors import InvalidInput, UnknownModel
from service.fields import suggest
from service.folders import Identity
from service.model import Model


class Catalogue:
    """What can be asked for.

    Args:
        default_model: answers requests that name none, if there are several.
    """

    def __init__(self, default_model: str | None) -> None:
        self._default_model = default_model
        self._models: dict[str, dict[int, Model]] = {}
        self._answering: dict[str, int] = {}  # the version that is meant when none is pinned
        self._desired = Desired()
        self._noticed: frozenset[str] = frozenset()
        self._by_task: dict[Task, list[Model]] = {}  # as far as it was asked for

    # --- Who is asked. ---

    def get(self, name: str | None, version: int | None = None) -> Model:
        """The model of that name, or the default or only one; the version, or the default one.

        Raises:
            UnknownModel: names what exists, the nearest first.
            InvalidInput: no name was given, and there are several, or the default is not loaded.
        """
        wanted = self._default_name() if name is None else name
        versions = self._models.get(wanted)
        if versions is None:
            raise self._unknown(wanted)
        if version is None:
            return self.answering(wanted)
        if version not in versions:
            known = sorted(versions)
            raise UnknownModel(
                f"model {wanted!r} has no version {version}: it has {', '.join(map(str, known))}",
                versions=known,
            )
        return versions[version]

    def answering(self, name: str) -> Model:
        """What answers when no version of a model that serves is pinned."""
        return self._models[name][self._answering[name]]

    def find(self, identity: Identity) -> Model | None:
        """A model, if it serves."""
        return self._models.get(identity[0], {}).get(identity[1])

    def models(self) -> list[Model]:
        """Every model that serves, by name, then by version."""
        return [model for name in self.names() for model in self.versions(name)]

    def models_for(self, task: Task) -> list[Model]:
        """Those that answer a task."""
        if task not in self._by_task:
            self._by_task[task] = [each for each in self.models() if task in each.manifest.tasks]
        return self._by_task[task]

    def names(self) -> list[str]:
        """The names of the models that serve."""
        return sorted(self._models)

    def versions(self, name: str) -> list[Model]:
        """Every version of a model that serves, in ascending order."""
        versions = self._models.get(name, {})
        return [versions[version] for version in sorted(versions)]

    def _default_name(self) -> str:
        names, chosen = self.names(), self._default_model
        if chosen in self._models:
            return chosen
        if chosen is not None:
            raise InvalidInput(
                f"the default model {chosen!r} is not loaded: name one of {', '.join(names)}",
                models=names,
            )
        if len(names) == 1:
            return names[0]
        raise InvalidInput(f"model is needed: one of {', '.join(names)}", models=names)

    def _unknown(self, name: str) -> UnknownModel:
        names = self.names()
        hint, near = suggest(name, names)
        names.sort(key=lambda known: known != near.get("nearest"))
        detail = f"there is no model {name!r}{hint or ';'} there are: {', '.join(names) or 'none'}"
        return UnknownModel(detail, models=names)

    # --- What is said of the defaults. ---

    def notices(self) -> list[str]:
        """Every default that is not there, and what happens instead."""
        told = [
            f"model {name!r}: {notice}"
            for name in sorted(self._desired.models)
            if (notice := self.notice(name))
        ]
        chosen = self._default_model
        if chosen is not None and chosen not in self._models:
            names = ", ".join(self.names()) or "none"
            told.append(
                f"the default model {chosen!r} is not loaded: requests must name one of {names}"
            )
        return told

    def new_notices(self) -> list[str]:
        """Those that were not there when this was last asked."""
        notices = self.notices()
        new = [notice for notice in notices if notice not in self._noticed]
        self._noticed = frozenset(notices)
        return new

    def notice(self, name: str) -> str | None:
        """What to know of a model whose default version is not there."""
        wanted = self._desired.of(name)
        if wanted.default is None or wanted.unloaded == "all":
            return None
        if wanted.default in self._models.get(name, {}):
            return None
        answering = self._answering.get(name)
        meanwhile = f"{answering} answers meanwhile" if answering else "no other serves"
        return f"the default version {wanted.default} is not loaded: {meanwhile}"

    # --- What comes and goes. ---

    @property
    def desired(self) -> Desired:
        """What decides which version answers."""
        return self._desired

    def follow(self, desired: Desired) -> None:
        """Let other versions answer from now on."""
        self._desired = desired
        for name in self._models:
            self._choose(name)

    def offer(self, model: Model) -> None:
        """Let a model answer from now on, in the place of the one with its name and version."""
        name, version = _identity(model.bundle)
        self._models.setdefault(name, {})[version] = model
        self._by_task.clear()
        self._choose(name)

    def withdraw(self, identity: Identity) -> Model | None:
        """Let a model answer no more; None when it did not."""
        name, version = identity
        versions = self._models.get(name, {})
        model = versions.pop(version, None)
        self._by_task.clear()
        if versions:
            self._choose(name)
        elif model is not None:
            del self._models[name], self._answering[name]
        return model

    def _choose(self, name: str) -> None:
        answering = self._desired.of(name).answering(self._models[name])
        assert answering is not None
        self._answering[name] = answering


def _identity(bundle: Bundle) -> Identity:
    return bundle.manifest.name, bundle.manifest.version
