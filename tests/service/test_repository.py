"""Models that come, change, break and go, while others serve."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from export.bundle import MANIFEST, write_manifest
from service import repository as repository_module
from service import retirement
from service import sources as sources_module
from service.canary import specimen
from service.config import RuntimeUnusable, ServiceConfig
from service.errors import InvalidInput, NotReady, UnknownModel
from service.folders import Folder, scan
from service.metrics import Metrics
from service.model import Model
from service.repository import Repository
from tests.service.held import Hold, settle
from tests.tiny import ONNX, PARITY, tiny_bundle

pytestmark = pytest.mark.anyio


def repository(*folders: Path, **settings: Any) -> Repository:  # noqa: ANN401
    fast = {"lanes": 1, "threads": 1, "max_batch_rows": 2, "watch_s": 0}
    return Repository(ServiceConfig(models=folders, **(fast | settings)), Metrics())


@asynccontextmanager
async def started(*folders: Path, **settings: Any) -> AsyncIterator[Repository]:  # noqa: ANN401
    models = repository(*folders, **settings)
    await models.start()
    try:
        yield models
    finally:
        await models.close()


async def picture(model: Model) -> bytes:
    row = specimen(model.manifest.graph("generate"), 8, 8)
    answer = await model.infer("generate", row, timeout_s=30)
    return answer.rows["image"].tobytes()


def identities(models: Repository) -> list[tuple[str, int]]:
    return [(model.manifest.name, model.manifest.version) for model in models.models()]


# --- Finding. ---


async def test_every_bundle_of_every_folder_serves(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "one", name="b", version=2)
    tiny_bundle(tmp_path / "one", name="b", version=10)
    tiny_bundle(tmp_path / "two", name="a")
    async with started(tmp_path / "one", tmp_path / "two") as models:
        assert identities(models) == [("a", 1), ("b", 2), ("b", 10)]
        assert models.failures == ()
        assert models.get("b").manifest.version == 10
        assert models.get("b", 2).manifest.version == 2


async def test_the_only_model_and_the_default_model_need_no_name(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, name="a")
    async with started(tmp_path) as models:
        assert models.get(None).manifest.name == "a"
    tiny_bundle(tmp_path, name="b")
    async with started(tmp_path, default_model="b") as models:
        assert models.get(None).manifest.name == "b"
    async with started(tmp_path) as models:
        with pytest.raises(InvalidInput, match="model is needed: one of a, b") as refusal:
            models.get(None)
        assert refusal.value.extra == {"models": ["a", "b"]}


async def test_an_unknown_model_is_told_what_there_is_the_nearest_first(tmp_path: Path) -> None:
    for name in ("cats", "shoes", "shirts"):
        tiny_bundle(tmp_path, name=name)
    async with started(tmp_path, default_model="gone") as models:
        with pytest.raises(UnknownModel, match=r"no model 'shoe'; did you mean 'shoes'") as refusal:
            models.get("shoe")
        assert refusal.value.extra["models"] == ["shoes", "cats", "shirts"]
        with pytest.raises(UnknownModel, match="there are: cats, shirts, shoes"):
            models.get("xyz")
        with pytest.raises(UnknownModel, match="'cats' has no version 7: it has 1"):
            models.get("cats", 7)
        with pytest.raises(UnknownModel, match="no model ''; there are"):
            models.get("")


async def test_an_unknown_version_of_the_default_names_it(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, name="cats")
    async with started(tmp_path) as models:
        with pytest.raises(UnknownModel, match="'cats' has no version 99: it has 1"):
            models.get(None, 99)


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _, failures = scan([Folder(tmp_path / "file"), Folder(tmp_path / "none")])
    assert [failure.reason.partition(",")[0] for failure in failures] == [
        "is a file",
        "is no folder: create it",
    ]


async def test_what_was_measured_to_be_another_generator_is_refused(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, name="cats")
    second = tiny_bundle(tmp_path, name="cats", version=2)
    other = PARITY.model_copy(update={"max_levels": 2})
    write_manifest(second.path, second.manifest.model_copy(update={"parity": other}))
    async with started(tmp_path) as models:
        assert identities(models) == [("cats", 1)]
        [failure] = models.failures
        assert failure.path == second.path
        assert "max_levels is 2, more than 1): export it again" in failure.reason


async def test_what_was_never_measured_serves_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_bundle(tmp_path, name="cats")
    second = tiny_bundle(tmp_path, name="cats", version=2)
    write_manifest(second.path, second.manifest.model_copy(update={"parity": None}))
    async with started(tmp_path) as models:
        await models.refresh()
        assert identities(models) == [("cats", 1), ("cats", 2)]
        [warning] = [record.getMessage() for record in caplog.records if record.levelno > 20]
        assert warning == f"model cats/2: {models.get('cats', 2).notice}"
        assert "no parity record" in warning


async def test_a_default_that_is_not_loaded_is_told_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_bundle(tmp_path, name="cats")
    async with started(tmp_path, default_model="gone") as models:
        await models.refresh()
        [warning] = [
            record.getMessage() for record in caplog.records if record.levelname == "WARNING"
        ]
        assert "the default model 'gone' is not loaded" in warning
        expected = "the default model 'gone' is not loaded: name one of cats"
        with pytest.raises(InvalidInput, match=expected) as refusal:
            models.get(None)
        assert refusal.value.extra == {"models": ["cats"]}


async def test_the_first_folder_wins_and_the_other_is_told(tmp_path: Path) -> None:
    first = tiny_bundle(tmp_path / "one", salt=1)
    second = tiny_bundle(tmp_path / "two", salt=2)
    async with started(tmp_path / "one", tmp_path / "two") as models:
        assert models.get("tiny").digest == first.digest
        [failure] = models.failures
        assert failure.path == second.path
        assert failure.reason == f"is hidden by {first.path}: remove one of them"


# --- Readiness. ---


async def test_ready_means_looked_and_found_and_alive(tmp_path: Path) -> None:
    models = repository(tmp_path)
    assert models.reasons == ("the models are being loaded",)
    with pytest.raises(NotReady, match="being loaded"):
        models.get("tiny")
    await models.start()
    assert not models.ready
    assert models.reasons == (f"no model serves: put a bundle into {tmp_path}",)
    with pytest.raises(NotReady, match="put a bundle into"):
        models.get(None)
    tiny_bundle(tmp_path)
    await models.refresh()
    assert models.ready
    await models.close()
    assert models.reasons == ("the service is shutting down",)
    with pytest.raises(NotReady, match="shutting down"):
        models.get("tiny")


async def test_a_model_whose_loop_has_ended_is_not_ready(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    async with started(tmp_path) as models:
        [engine] = models.get("tiny").engines.values()
        engine.batcher._places[0].cancel()
        await settle()
        assert models.reasons == ("model tiny/1 has stopped: restart the service",)


async def test_a_model_in_trouble_is_not_ready_and_the_log_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(repository_module, "GUARD_S", 0)
    tiny_bundle(tmp_path)

    async def told(text: str) -> None:
        async with asyncio.timeout(30):
            while text not in caplog.text:
                await asyncio.sleep(0)

    async with started(tmp_path) as models:
        model = models.get("tiny")
        [engine] = model.engines.values()
        engine._broken = "has failed"
        assert models.reasons == ("model tiny/1 has failed",)
        with pytest.raises(NotReady, match="has failed"):
            await picture(model)
        await told("not ready: model tiny/1 has failed")
        await settle()
        engine._broken = None
        assert models.ready
        await told("ready again")
        await picture(model)
    assert caplog.text.count("not ready: model tiny/1") == 1


async def test_the_metrics_tell_what_serves(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    models = Repository(ServiceConfig(models=(tmp_path, tmp_path / "no"), watch_s=0), metrics)
    assert value("ganymede_ready") == 0
    await models.start()
    assert value("ganymede_ready") == 1
    assert value("ganymede_models_loaded") == 1
    assert value("ganymede_model_failures") == 1
    labels = {"model": "tiny", "version": "1", "provider": "cpu"}
    assert value("ganymede_model_info", labels) == 1
    assert value("ganymede_queue_rows", {"model": "tiny"}) == 0
    shutil.rmtree(tmp_path / "tiny")
    await models.refresh()
    assert value("ganymede_models_loaded") == 0
    assert value("ganymede_model_info", labels) is None
    assert value("ganymede_queue_rows", {"model": "tiny"}) is None
    await models.close()


# --- Broken bundles. ---


def spoil_manifest(path: Path) -> None:
    (path / MANIFEST).write_text("{")


def spoil_graph(path: Path) -> None:
    (path / ONNX).write_bytes(b"not what was exported")


def remove_graph(path: Path) -> None:
    (path / ONNX).unlink()


def rename_folder(path: Path) -> None:
    path.rename(path.with_name("9"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_manifest, "not a manifest"),
        (spoil_graph, "copy it again"),
        (remove_graph, "is missing"),
        (rename_folder, "manifest says broken/1"),
    ],
)
async def test_a_broken_bundle_is_told_and_takes_nothing_down(
    spoil: Any,  # noqa: ANN401
    says: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tiny_bundle(tmp_path, name="whole")
    spoil(tiny_bundle(tmp_path, name="broken").path)
    with caplog.at_level(logging.ERROR):
        async with started(tmp_path) as models:
            await models.refresh()
            assert models.ready
            assert identities(models) == [("whole", 1)]
            [failure] = models.failures
            assert isinstance(failure.path, Path)
            assert failure.path.parent.name == "broken"
            assert says in failure.reason
    assert len(caplog.records) == 1  # once, not at every look


async def test_a_graph_that_is_not_the_manifests_is_told(tmp_path: Path) -> None:
    small, large = tiny_bundle(tmp_path / "small"), tiny_bundle(tmp_path / "large", size=16)
    manifest = (small.path / MANIFEST).read_text()
    there, here = large.manifest.files[ONNX], small.manifest.files[ONNX]
    manifest = manifest.replace(here.sha256, there.sha256)
    manifest = manifest.replace(str(here.size_bytes), str(there.size_bytes))
    (large.path / MANIFEST).write_text(manifest)
    async with started(tmp_path / "large") as models:
        [failure] = models.failures
        assert "output 'image'" in failure.reason


async def test_a_folder_that_is_missing_is_told_and_may_come_later(tmp_path: Path) -> None:
    async with started(tmp_path / "later") as models:
        [failure] = models.failures
        assert "GANYMEDE_MODELS" in failure.reason
        assert str(tmp_path / "later") in models.reasons[0]
        tiny_bundle(tmp_path / "later")
        await models.refresh()
        assert models.failures == ()
        assert models.ready


# --- Changes under load. ---


async def test_a_new_version_serves_beside_the_old_and_is_the_default(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, salt=1)
    async with started(tmp_path) as models:
        old = models.get("tiny")
        before = await picture(old)
        tiny_bundle(tmp_path, version=2, salt=2)
        await models.refresh()
        assert models.get("tiny", 1) is old
        assert await picture(models.get("tiny", 1)) == before
        assert await picture(models.get("tiny")) != before


async def test_a_refresh_without_changes_changes_nothing(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    async with started(tmp_path) as models:
        model = models.get("tiny")
        await models.refresh()
        assert models.get("tiny") is model
        (bundle.path / ONNX).touch()
        await models.refresh()
        assert models.get("tiny") is model


async def test_a_replaced_bundle_is_swapped_and_requests_in_flight_end_on_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bundle(tmp_path, salt=1)
    async with started(tmp_path) as models:
        old = models.get("tiny")
        before = await picture(old)
        shutil.rmtree(tmp_path / "tiny")
        tiny_bundle(tmp_path, salt=2)
        await models.refresh()
        new = models.get("tiny")
        assert new is not old
        assert await picture(new) != before
        assert await picture(old) == before  # a request that had found it is answered
        await asyncio.sleep(0)  # its time begins
        monkeypatch.setattr(retirement, "LINGER_S", 0)
        shutil.rmtree(tmp_path / "tiny")
        await models.refresh()
        while new.alive:
            await asyncio.sleep(0)
        assert old.alive  # its time has not come yet
    assert not old.alive


async def test_a_replacement_that_fails_leaves_the_old_serving(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    async with started(tmp_path) as models:
        old = models.get("tiny")
        whole = (bundle.path / ONNX).read_bytes()
        spoil_graph(bundle.path)
        await models.refresh()
        assert models.get("tiny") is old
        assert models.ready
        [failure] = models.failures
        assert failure.reason.endswith("what was loaded before goes on serving")
        (bundle.path / ONNX).write_bytes(whole)
        await models.refresh()
        assert models.get("tiny") is old
        assert models.failures == ()


async def test_a_removed_bundle_serves_no_more(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, name="stays")
    tiny_bundle(tmp_path, name="goes")
    async with started(tmp_path) as models:
        shutil.rmtree(tmp_path / "goes")
        await models.refresh()
        assert identities(models) == [("stays", 1)]
        with pytest.raises(UnknownModel):
            models.get("goes")


async def test_a_half_copied_bundle_is_tried_again_when_it_is_whole(tmp_path: Path) -> None:
    source = tiny_bundle(tmp_path / "source").path
    target = tmp_path / "models" / "tiny" / "1"
    target.mkdir(parents=True)
    shutil.copy(source / MANIFEST, target)
    async with started(tmp_path / "models") as models:
        [failure] = models.failures
        assert "is missing" in failure.reason
        shutil.copy(source / ONNX, target)
        await models.refresh()
        assert models.failures == ()
        assert identities(models) == [("tiny", 1)]


async def test_watching_finds_what_comes(tmp_path: Path) -> None:
    async with started(tmp_path, watch_s=0.001) as models:
        assert not models.ready
        tiny_bundle(tmp_path)
        async with asyncio.timeout(30):
            while not models.ready:
                await asyncio.sleep(0)


async def test_watching_survives_a_look_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(tmp_path, watch_s=0.001) as models:
        failures = [OSError("the disk is away")]

        def fail_once(folders: Any) -> Any:  # noqa: ANN401
            if failures:
                raise failures.pop()
            return scan(folders)

        monkeypatch.setattr(sources_module, "scan", fail_once)
        tiny_bundle(tmp_path)
        async with asyncio.timeout(30):
            while not models.ready:
                await asyncio.sleep(0)
    assert "looking for models failed" in caplog.text


# --- The end. ---


async def test_closing_answers_what_was_accepted(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    models = repository(tmp_path)
    await models.start()
    model = models.get("tiny")
    tasks = [asyncio.create_task(picture(model)) for _ in range(20)]
    await settle()
    await models.close()
    assert len({await task for task in tasks}) == 1
    assert not model.alive


async def test_closing_is_bounded(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    models = repository(tmp_path, drain_s=0)
    await models.start()
    model = models.get("tiny")
    async with Hold(model):
        tasks = [asyncio.create_task(picture(model)) for _ in range(20)]
        await settle()
        close = asyncio.create_task(models.close())
        for task in tasks:
            with pytest.raises(NotReady):
                await task
    await close


async def test_a_provider_that_is_missing_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(asked: str, gpus: object) -> str:
        raise RuntimeUnusable(f"no {asked}")

    monkeypatch.setattr(repository_module, "choose_provider", refuse)
    with pytest.raises(RuntimeUnusable, match="no cuda"):
        await repository(tmp_path, provider="cuda").start()
