"""What was replaced ends, and is freed: over hundreds of reloads nothing is left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from export.bundle import Bundle
from service import repository as repository_module
from service import retirement
from service.config import ServiceConfig
from service.desired import DefaultChange, LoadChange, ReloadChange, RollbackChange, UnloadChange
from service.metrics import Metrics
from service.model import Model
from service.repository import Repository
from service.retirement import Retirement
from tests.service.held import settle
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.anyio


class FakeModel:
    """A model that is nothing but open or closed."""

    waiting_rows = 0
    fullness = oldest_wait_s = overdue_s = 0.0
    provider, trouble = "cpu", None

    def __init__(self, bundle: Bundle, live: set[FakeModel]) -> None:
        self.bundle, self.manifest, self.digest = bundle, bundle.manifest, bundle.digest
        self._live = live
        self._live.add(self)

    async def close(self) -> None:
        self._live.remove(self)  # fails when it is closed twice


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> set[FakeModel]:
    """The models that are open."""
    models: set[FakeModel] = set()

    async def load(bundle: Bundle, *_: object) -> FakeModel:
        return FakeModel(bundle, models)

    monkeypatch.setattr(repository_module, "load", load)
    monkeypatch.setattr(retirement, "LINGER_S", 0)
    return models


async def ended(ends: Retirement) -> None:
    """Memory is given back in a thread: that takes as long as it takes."""
    async with asyncio.timeout(30):
        while ends.models:
            await asyncio.sleep(0)


def series(metrics: Metrics) -> int:
    return sum(len(family.samples) for family in metrics.registry.collect())


async def test_after_200_reloads_as_much_is_open_as_before(
    tmp_path: Path, live: set[FakeModel]
) -> None:
    metrics = Metrics()
    for version in (1, 2):
        tiny_bundle(tmp_path, name="cats", version=version)
    models = Repository(ServiceConfig(models=(tmp_path,), watch_s=0), metrics)
    await models.start()
    assert len(live) == 2
    shown = series(metrics)
    changes = (
        ReloadChange(name="cats"),
        DefaultChange(name="cats", version=1),
        UnloadChange(name="cats", version=2),
        LoadChange(name="cats", version=2),
        DefaultChange(name="cats", version=2),
        RollbackChange(name="cats"),
        DefaultChange(name="cats", version=None),
    )
    most = 0
    for _ in range(200):
        for change in changes:
            await models.converge(models.desired.changed(change, await models.present()))
            most = max(most, len(live))
        assert len(models._background) == 1  # the guard
    await ended(models._retirement)
    assert len(live) == 2
    assert most <= 2 + 2 * retirement.ENDING_MODELS
    assert series(metrics) == shown
    assert len(models.desired.model_dump_json()) < 1000
    await models.close()
    assert not live


async def test_a_model_that_goes_and_comes_leaves_no_gauge_behind(
    tmp_path: Path, live: set[FakeModel]
) -> None:
    tiny_bundle(tmp_path, name="cats")
    metrics = Metrics()
    models = Repository(ServiceConfig(models=(tmp_path,), watch_s=0), metrics)
    await models.start()
    shown = series(metrics)
    for _ in range(3):
        unload = UnloadChange(name="cats")
        await models.converge(models.desired.changed(unload, await models.present()))
        assert series(metrics) < shown
        assert metrics.registry.get_sample_value("ganymede_models_loaded") == 0
        load = LoadChange(name="cats")
        await models.converge(models.desired.changed(load, await models.present()))
        assert series(metrics) == shown
    await models.close()


async def test_converging_twice_does_nothing_the_second_time(
    tmp_path: Path, live: set[FakeModel]
) -> None:
    tiny_bundle(tmp_path, name="cats")
    models = Repository(ServiceConfig(models=(tmp_path,), watch_s=0), Metrics())
    await models.start()
    desired = models.desired.changed(ReloadChange(name="cats"), await models.present())
    assert await models.converge(desired) == ()
    await ended(models._retirement)
    [model] = live
    assert await models.converge(desired) == ()
    assert live == {cast(FakeModel, models.get("cats"))} == {model}
    await models.close()


def ending(version: int, closing: asyncio.Event) -> Model:
    manifest: Any = SimpleNamespace(name="cats", version=version)
    return cast(Model, SimpleNamespace(manifest=manifest, close=closing.wait))


async def test_a_version_waits_for_its_predecessors_to_end_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retirement, "LINGER_S", 0)
    ends, closing = Retirement(), asyncio.Event()
    for _ in range(retirement.ENDING_MODELS):
        ends.retire(ending(1, closing))
    await ends.room_for(("cats", 2), timeout_s=30)  # another version has room
    await ends.room_for(("cats", 1), timeout_s=1e-6)  # and this one does not wait for ever
    waiting = asyncio.create_task(ends.room_for(("cats", 1), timeout_s=30))
    await settle()
    assert not waiting.done()
    closing.set()
    await waiting
    await ended(ends)
