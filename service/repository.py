"""The models that serve: found in folders, loaded, replaced and dropped while others serve.

A bundle that cannot be served is told in ``failures`` and in the log, and takes nothing down: when
it is a new version of files that serve already, the old ones go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from export.bundle import BundleError, load_bundle
from service.config import ServiceConfig
from service.errors import InvalidInput, NotReady, UnknownModel
from service.fields import suggest
from service.folders import Failure, Found, Identity, scan
from service.metrics import Metrics
from service.model import RETRY_AFTER_S, Answer, Model, load
from service.session import Provider, choose_provider

__all__ = ["Answer", "Failure", "Model", "Repository"]

logger = logging.getLogger(__name__)

# A model that was replaced still takes the requests that had found it; they need milliseconds.
LINGER_S = 5.0
# Between two looks at whether every model still works.
GUARD_S = 1.0


class Repository:
    """Every model of the configured folders.

    Args:
        config: where to look, how often, and how to run what is found.
        metrics: what is told about the models.
    """

    def __init__(self, config: ServiceConfig, metrics: Metrics) -> None:
        self._config, self._metrics = config, metrics
        self._provider: Provider = "cpu"
        self._models: dict[str, dict[int, Model]] = {}
        self._tried: dict[Identity, Found] = {}  # what was loaded, or could not be
        self._broken: dict[Identity, Failure] = {}
        self._unusable: tuple[Failure, ...] = ()
        self._refreshing = asyncio.Lock()
        self._retired: set[Model] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._started = self._closing = self._without_default = False
        metrics.ready.set_function(lambda: float(self.ready))

    # --- What there is. ---

    def get(self, name: str | None, version: int | None = None) -> Model:
        """The model to ask: by default the configured or only one, in its highest version.

        Raises:
            UnknownModel: names what exists, the nearest first.
            InvalidInput: no name was given, and there are several, or the default is not loaded.
            NotReady: starting, or shutting down.
        """
        if self._closing or not self._started:
            raise NotReady("; ".join(self.reasons), retry_after_s=RETRY_AFTER_S)
        wanted = self._default() if name is None else name
        versions = self._models.get(wanted)
        if versions is None:
            raise self._unknown(wanted)
        if version is None:
            return versions[max(versions)]
        if version not in versions:
            known = sorted(versions)
            raise UnknownModel(
                f"model {wanted!r} has no version {version}: it has {', '.join(map(str, known))}",
                versions=known,
            )
        return versions[version]

    def models(self) -> list[Model]:
        """Every model that serves, by name, then by version."""
        return [
            versions[version]
            for _, versions in sorted(self._models.items())
            for version in sorted(versions)
        ]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What in the folders does not serve."""
        return (*self._unusable, *(self._broken[identity] for identity in sorted(self._broken)))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why requests are not accepted; empty when they are."""
        if self._closing:
            return ("the service is shutting down",)
        if not self._started:
            return ("the models are being loaded",)
        if not self._models:
            folders = ", ".join(map(str, self._config.models))
            return (f"no model serves: put a bundle into {folders}", *map(str, self.failures))
        return tuple(
            f"model {model.manifest.name}/{model.manifest.version} {trouble}"
            for model in self.models()
            if (trouble := model.trouble)
        )

    @property
    def ready(self) -> bool:
        """Whether requests are accepted."""
        return not self.reasons

    def _default(self) -> str:
        names, chosen = sorted(self._models), self._config.default_model
        if chosen in self._models:
            return chosen
        if not names:
            raise NotReady("; ".join(self.reasons), retry_after_s=RETRY_AFTER_S)
        if chosen is not None:
            raise InvalidInput(
                f"the default model {chosen!r} is not loaded: name one of {', '.join(names)}",
                models=names,
            )
        if len(names) == 1:
            return names[0]
        raise InvalidInput(f"model is needed: one of {', '.join(names)}", models=names)

    def _unknown(self, name: str) -> UnknownModel:
        names = sorted(self._models)
        hint, near = suggest(name, names)
        names.sort(key=lambda known: known != near.get("nearest"))
        detail = f"there is no model {name!r}{hint or ';'} there are: {', '.join(names) or 'none'}"
        return UnknownModel(detail, models=names)

    # --- How it comes and goes. ---

    async def start(self) -> None:
        """Load what the folders hold, then watch them.

        Raises:
            RuntimeUnusable: no inference is possible as configured.
        """
        self._provider = await asyncio.to_thread(
            choose_provider, self._config.provider, self._config.gpus
        )
        await self.refresh()
        self._started = True
        self._spawn(self._guard())
        if self._config.watch_s:
            self._spawn(self._watch())

    async def refresh(self) -> None:
        """Load what is new or changed in the folders, and drop what is gone."""
        async with self._refreshing:
            found, unusable = await asyncio.to_thread(scan, self._config.models)
            for failure in set(unusable).difference(self._unusable):
                logger.warning("%s", failure)
            self._unusable = unusable
            for identity in [known for known in self._tried if known not in found]:
                self._forget(identity)
            for identity, bundle in found.items():
                if self._tried.get(identity) != bundle and not self._closing:
                    await self._load(identity, bundle.path)
                    self._tried[identity] = bundle
            self._metrics.models_loaded.set(len(self.models()))
            self._metrics.model_failures.set(len(self.failures))
            self._warn_of_the_default()

    def _warn_of_the_default(self) -> None:
        """Say once, whenever it happens, that the default model is not there."""
        chosen, before = self._config.default_model, self._without_default
        self._without_default = chosen is not None and chosen not in self._models
        if self._without_default and not before:
            logger.warning(
                "the default model %r is not loaded: requests must name one of %s",
                chosen,
                ", ".join(sorted(self._models)) or "none",
            )

    async def close(self) -> None:
        """Refuse new requests, finish those accepted within ``drain_s``, and free everything."""
        self._closing = True
        for task in self._background:
            task.cancel()
        models = [*self.models(), *self._retired]
        closing = [asyncio.create_task(model.close()) for model in models]
        if closing:
            _, late = await asyncio.wait(closing, timeout=self._config.drain_s)
            for task in late:
                task.cancel()
        await asyncio.gather(*closing, *self._background, return_exceptions=True)
        logger.info("closed")

    async def _load(self, identity: Identity, path: Path) -> None:
        """Offer a bundle instead of the one with its name and version, or say why not."""
        name, version = identity
        old = self._models.get(name, {}).get(version)
        try:
            bundle = await asyncio.to_thread(load_bundle, path)
            manifest = bundle.manifest
            if (manifest.name, manifest.version) != identity:
                raise BundleError(
                    f"its manifest says {manifest.name}/{manifest.version}: name the folders so"
                )
            if old and (old.digest, old.bundle.path) == (bundle.digest, path):
                self._broken.pop(identity, None)  # touched, or repaired, and the same as before
                return
            model = await load(bundle, self._config, self._provider, self._metrics)
        except Exception as error:
            before = "; what was loaded before goes on serving" if old else ""
            self._broken[identity] = Failure(path, f"{error}{before}")
            unexpected = not isinstance(error, BundleError)
            logger.error("%s cannot be served: %s%s", path, error, before, exc_info=unexpected)
            return
        if self._closing:
            await model.close()
            return
        self._broken.pop(identity, None)
        self._models.setdefault(name, {})[version] = model
        self._metrics.model_info.labels(name, str(version), model.provider).set(1)
        self._metrics.offer(
            name,
            self._config.queue_images,
            waiting_rows=lambda: sum(each.waiting_rows for each in self._versions(name)),
            oldest_wait_s=lambda: max(each.oldest_wait_s for each in self._versions(name)),
            overdue_s=lambda: max(each.overdue_s for each in self._versions(name)),
        )
        logger.info("model %s/%d serves on %s, from %s", name, version, model.provider, path)
        if old:
            self._retire(old)

    def _versions(self, name: str) -> list[Model]:
        """Every version of a model that serves."""
        return list(self._models.get(name, {}).values())

    def _forget(self, identity: Identity) -> None:
        """Stop offering what is no longer in the folders."""
        name, version = identity
        del self._tried[identity]
        self._broken.pop(identity, None)
        model = self._models.get(name, {}).pop(version, None)
        if model is None:
            return
        self._metrics.model_info.remove(name, str(version), model.provider)
        if not self._models[name]:
            del self._models[name]
            self._metrics.withdraw(name)
        logger.info("model %s/%d was removed", name, version)
        self._retire(model)

    def _retire(self, model: Model) -> None:
        """Close a model once nobody can come any more that had found it before."""

        async def wait() -> None:
            await asyncio.sleep(LINGER_S)
            await model.close()
            self._retired.discard(model)

        self._retired.add(model)
        self._spawn(wait())

    async def _guard(self) -> None:
        """Write into the log when a model falls into trouble, and when it is out of it."""
        known: tuple[str, ...] = ()
        while True:
            await asyncio.sleep(GUARD_S)
            reasons = self.reasons
            for reason in set(reasons).difference(known):
                logger.error("not ready: %s", reason)
            if known and not reasons:
                logger.warning("ready again")
            known = reasons

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._config.watch_s)
            try:
                await self.refresh()
            except Exception:  # the next look may succeed
                logger.exception("looking for models failed")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
