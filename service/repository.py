"""The models that serve: found in folders, loaded, replaced and dropped while others serve.

What lies in the folders serves, unless it is not wanted (``desired``). A bundle that cannot be
served is told in ``failures`` and in the log, and takes nothing down: when it is a new version of
files that serve already, the old ones go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from export.bundle import BundleError, load_bundle
from service.catalogue import Catalogue
from service.config import ServiceConfig
from service.desired import Desired, Failed, Present
from service.errors import NotReady
from service.folders import Failure, Identity
from service.inventory import Inventory
from service.metrics import Metrics
from service.model import RETRY_AFTER_S, Answer, Model, load
from service.paths import paths_of
from service.retirement import Retirement
from service.session import Provider, choose_provider
from service.sources import Sources, open_sources

__all__ = ["Answer", "Failure", "Model", "Repository"]

logger = logging.getLogger(__name__)

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
        self._catalogue = Catalogue(config.default_model)
        self._inventory = Inventory()
        self._refreshing = asyncio.Lock()
        self._retirement = Retirement()
        self._background: set[asyncio.Task[None]] = set()
        self._started = self._closing = False
        self._sources = Sources()
        metrics.ready.set_function(lambda: float(self.ready))

    # --- What there is. ---

    def get(self, name: str | None, version: int | None = None) -> Model:
        """The model to ask: the configured or only one, in its default version, unless told.

        Raises:
            UnknownModel: names what exists, the nearest first.
            InvalidInput: no name was given, and there are several, or the default is not loaded.
            NotReady: starting, or shutting down, or nothing to choose from.
        """
        self.require_started()
        if name is None and not self._catalogue.names():
            raise self._not_ready()
        return self._catalogue.get(name, version)

    def models(self) -> list[Model]:
        """Every model that serves, by name, then by version."""
        return self._catalogue.models()

    @property
    def catalogue(self) -> Catalogue:
        """The models that serve, and which of them answers whom."""
        return self._catalogue

    @property
    def inventory(self) -> Inventory:
        """What lay in the folders at the last look, wanted or not."""
        return self._inventory

    @property
    def desired(self) -> Desired:
        """What is wanted beyond what lies in the folders."""
        return self._catalogue.desired

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What in the folders does not serve, though it is wanted."""
        return self._inventory.failures

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why requests are not accepted; empty when they are."""
        if self._closing:
            return ("the service is shutting down",)
        if not self._started:
            return ("the models are being loaded",)
        if not self._catalogue.names():
            return self._nothing_serves()
        return tuple(
            f"model {model.manifest.name}/{model.manifest.version} {trouble}"
            for model in self.models()
            if (trouble := model.trouble)
        )

    @property
    def ready(self) -> bool:
        """Whether requests are accepted."""
        return not self.reasons

    def _nothing_serves(self) -> tuple[str, ...]:
        if unloaded := self._inventory.unloaded(self.desired):
            names = ", ".join(f"{name}/{version}" for name, version in unloaded)
            advice = f"load one of those that were unloaded with `ganymede admin load`: {names}"
        else:
            advice = f"put a bundle into {', '.join(map(str, self._config.models))}"
        return (f"no model serves: {advice}", *map(str, self.failures))

    def _not_ready(self) -> NotReady:
        return NotReady("; ".join(self.reasons), retry_after_s=RETRY_AFTER_S)

    def require_started(self) -> None:
        """Raise NotReady while it starts, and once it closes."""
        if self._closing or not self._started:
            raise self._not_ready()

    # --- How it comes and goes. ---

    async def start(self, desired: Desired | None = None) -> None:
        """Load what the folders hold and is wanted, then watch them.

        Raises:
            RuntimeUnusable: no inference is possible as configured.
        """
        asked, gpus = self._config.provider, self._config.gpus
        self._provider = await asyncio.to_thread(choose_provider, asked, gpus)
        self._sources = await asyncio.to_thread(open_sources, self._config)
        await self._sources.start()
        await self._refresh(desired or Desired())
        self._started = True
        self._spawn(self._guard())
        if self._config.watch_s:
            self._spawn(self._watch())

    async def refresh(self) -> None:
        """Load what is new or changed in the folders, and drop what is gone."""
        await self._refresh(None)

    async def converge(self, desired: Desired) -> tuple[Failed, ...]:
        """Make it so: load what is wanted, then let the defaults change, then drop what is not.

        Converging twice to the same does nothing the second time. What fails takes nothing down.

        Returns:
            What is wanted and lies in the folders, and does not serve as it now lies there.

        Raises:
            NotReady: starting, or shutting down.
        """
        self.require_started()
        await self._refresh(desired)
        self.require_started()  # else nothing was loaded
        return self._inventory.failed()

    async def present(self) -> dict[str, Present]:
        """What there is of each model, after a look into the folders that replaces nothing.

        Raises:
            NotReady: starting, or shutting down.
        """
        self.require_started()
        await self._refresh(None, replace=False)
        return self._inventory.present(
            (model.manifest.name, model.manifest.version) for model in self.models()
        )

    async def _refresh(self, desired: Desired | None, *, replace: bool = True) -> None:
        """Look into the folders; None is what was wanted before, also if that changes meanwhile."""
        async with self._refreshing:
            desired = desired or self.desired
            found, unusable = await asyncio.to_thread(self._sources.scan)
            for failure in self._inventory.look(found, unusable):
                logger.warning("%s", failure)
            for identity, bundle in self._inventory.wanted(desired).items():
                reloads = desired.reloads(*identity)
                if self._inventory.is_stale(identity, desired):
                    if self._closing or (not replace and self._catalogue.find(identity)):
                        continue
                    await self._load(identity, bundle.path, reloads)
                self._inventory.note_tried(identity, bundle, reloads)
            # Nothing below waits: no request meets one half of it.
            self._catalogue.follow(desired)
            for identity in self._inventory.forget_unwanted(desired):
                self._withdraw(identity)
            self._metrics.models_loaded.set(len(self.models()))
            self._metrics.model_failures.set(len(self.failures))
            for notice in self._catalogue.new_notices():
                logger.warning("%s", notice)

    async def close(self) -> None:
        """Refuse new requests, finish those accepted within ``drain_s``, and free everything."""
        self._closing = True
        self._sources.close()
        for task in self._background:
            task.cancel()
        models = [*self.models(), *self._retirement.models]
        waiting = [*self._background, *self._retirement.cancel()]
        closing = [asyncio.create_task(model.close()) for model in models]
        if closing:
            _, late = await asyncio.wait(closing, timeout=self._config.drain_s)
            for task in late:
                task.cancel()
        await asyncio.gather(*closing, *waiting, return_exceptions=True)
        logger.info("closed")

    async def _load(self, identity: Identity, path: Path, reloads: int) -> None:
        """Offer a bundle instead of the one with its name and version, or say why not."""
        name, version = identity
        old = self._catalogue.find(identity)
        try:
            bundle = await asyncio.to_thread(load_bundle, path)
            manifest = bundle.manifest
            if (manifest.name, manifest.version) != identity:
                raise BundleError(
                    f"its manifest says {manifest.name}/{manifest.version}: name the folders so"
                )
            same = old and (old.digest, old.bundle.path) == (bundle.digest, path)
            if same and self._inventory.is_open(identity, reloads):
                self._inventory.note_open(identity, reloads)  # touched, or repaired
                return
            await self._retirement.room_for(identity, self._config.drain_s)
            model = await load(bundle, self._config, self._provider, self._metrics)
        except Exception as error:
            before = "; what was loaded before goes on serving" if old else ""
            self._inventory.note_broken(identity, Failure(path, f"{error}{before}"))
            unexpected = not isinstance(error, BundleError)
            logger.error("%s cannot be served: %s%s", path, error, before, exc_info=unexpected)
            return
        if self._closing:
            await model.close()
            return
        self._inventory.note_open(identity, reloads)
        self._catalogue.offer(model)
        self._metrics.model_info.labels(name, str(version), model.provider).set(1)
        versions = self._catalogue.versions
        self._metrics.offer(
            name,
            paths_of(model.manifest.tasks),
            waiting_rows=lambda: sum(each.waiting_rows for each in versions(name)),
            fullness=lambda: max(each.fullness for each in versions(name)),
            oldest_wait_s=lambda: max(each.oldest_wait_s for each in versions(name)),
            overdue_s=lambda: max(each.overdue_s for each in versions(name)),
        )
        logger.info("model %s/%d serves on %s, from %s", name, version, model.provider, path)
        if old:
            self._retirement.retire(old)

    def _withdraw(self, identity: Identity) -> None:
        """Stop offering what is no longer in the folders, or no longer wanted."""
        name, version = identity
        model = self._catalogue.withdraw(identity)
        if model is None:
            return
        self._metrics.model_info.remove(name, str(version), model.provider)
        if not self._catalogue.versions(name):
            self._metrics.withdraw(name)
        logger.info("model %s/%d serves no more", name, version)
        self._retirement.retire(model)

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
