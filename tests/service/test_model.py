"""One model as it serves: from rows to an answer, and every way in which it is refused one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import opening
from service.batcher import RunFailed
from service.config import ServiceConfig
from service.errors import DeadlineExceeded, InferenceFailed, InvalidInput, NotReady, QueueFull
from service.metrics import Metrics
from service.model import Model, load
from service.rows import Rows
from service.signature import GraphMismatch
from tests.service.held import Hold, settle
from tests.tiny import LATENT, tiny_bundle

pytestmark = pytest.mark.anyio

MAX_BATCH_ROWS = 4


def random_rows(count: int, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    return Rows(
        {
            "z": generator.standard_normal((count, LATENT), dtype=np.float32),
            "label": generator.integers(0, 3, count),
            "truncation": generator.random(count, dtype=np.float32),
        }
    )


@asynccontextmanager
async def loaded(
    tmp_path: Path,
    metrics: Metrics | None = None,
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[Model]:
    fixed: dict[str, Any] = {"lanes": 1, "threads": 1, "max_batch_rows": MAX_BATCH_ROWS}
    config = ServiceConfig(**(fixed | settings))
    model = await load(tiny_bundle(tmp_path), config, "cpu", metrics or Metrics())
    try:
        yield model
    finally:
        await model.close()


async def infer(model: Model, rows: Rows, timeout_s: float = 30) -> asyncio.Task[Any]:
    task = asyncio.create_task(model.infer("generate", rows, timeout_s=timeout_s))
    await settle()
    return task


async def test_rows_are_answered_in_order_also_when_they_are_more_than_a_batch(
    tmp_path: Path,
) -> None:
    async with loaded(tmp_path) as model:
        rows = random_rows(4 * MAX_BATCH_ROWS + 1)
        answer = await model.infer("generate", rows, timeout_s=30)
        alone = [
            (await model.infer("generate", rows[k : k + 1], timeout_s=30)).rows["image"]
            for k in range(len(rows))
        ]
    assert np.array_equal(answer.rows["image"], np.concatenate(alone))
    assert answer.ran_s > 0
    assert answer.queued_s >= 0


async def test_one_seed_is_one_picture_under_mixed_load(tmp_path: Path) -> None:
    async with loaded(tmp_path) as model:
        rows = random_rows(50)
        answers = await asyncio.gather(
            *(model.infer("generate", rows[k : k + 1 + k % 6], timeout_s=30) for k in range(50))
        )
    first = [answer.rows["image"][0].tobytes() for answer in answers]
    for k, answer in enumerate(answers):
        for offset, picture in enumerate(answer.rows["image"]):
            assert picture.tobytes() == first[k + offset]


async def test_a_full_queue_is_429_with_a_measured_retry_after(tmp_path: Path) -> None:
    async with loaded(tmp_path, queue_images=8, max_images=8) as model, Hold(model):
        running = await infer(model, random_rows(MAX_BATCH_ROWS))
        ahead = await infer(model, random_rows(MAX_BATCH_ROWS))
        waiting = [await infer(model, random_rows(4)) for _ in range(2)]
        [engine] = model.engines.values()
        expected = engine.drain_s()
        refused = await infer(model, random_rows(1))
        with pytest.raises(QueueFull, match="8 rows") as refusal:
            await refused
        assert refusal.value.retry_after_s == expected > 0
        assert model.waiting_rows == 8
    assert [len((await task).rows) for task in (running, ahead, *waiting)] == [4] * 4


async def test_a_deadline_that_passes_is_504_also_while_the_device_is_busy(tmp_path: Path) -> None:
    async with loaded(tmp_path) as model, Hold(model):
        running = await infer(model, random_rows(1))
        with pytest.raises(DeadlineExceeded, match=r"tiny/1 did not answer in time") as late:
            await model.infer("generate", random_rows(1), timeout_s=0.01)
        assert late.value.retry_after_s is not None
        [engine] = model.engines.values()
        assert engine.caution.factor > 1
        assert model.waiting_rows == 0
    assert len((await running).rows) == 1


async def test_a_failing_row_is_500_and_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    metrics = Metrics()
    async with loaded(tmp_path, metrics) as model:
        poisoned = Rows(dict(random_rows(1).arrays) | {"label": np.array([99])})
        async with Hold(model):
            first = await infer(model, random_rows(1))
            bad, good = await infer(model, poisoned), await infer(model, random_rows(2))
        with pytest.raises(InferenceFailed) as failure:
            await bad
        assert [len((await task).rows) for task in (first, good)] == [1, 2]
        assert model.alive
    assert isinstance(failure.value.__cause__, RunFailed)
    assert "bounds" not in failure.value.detail
    failed = metrics.registry.get_sample_value("ganymede_failed_batches_total", {"model": "tiny"})
    assert failed == 2


async def test_a_closed_model_is_503(tmp_path: Path) -> None:
    async with loaded(tmp_path) as model:
        assert model.alive
        await model.close()
        assert not model.alive
        with pytest.raises(NotReady, match="try again"):
            await model.infer("generate", random_rows(1), timeout_s=30)


async def test_closing_finishes_what_was_accepted(tmp_path: Path) -> None:
    async with loaded(tmp_path) as model:
        async with Hold(model):
            tasks = [await infer(model, random_rows(3)) for _ in range(5)]
            close = asyncio.create_task(model.close())
            await settle()
        await close
        assert [len((await task).rows) for task in tasks] == [3] * 5


async def test_a_task_that_the_bundle_does_not_answer_is_422(tmp_path: Path) -> None:
    async with loaded(tmp_path) as model:
        with pytest.raises(InvalidInput, match="does not translate; it answers: generate"):
            await model.infer("translate", random_rows(1), timeout_s=30)


async def test_only_inferences_that_were_asked_for_are_counted(tmp_path: Path) -> None:
    metrics = Metrics()
    async with loaded(tmp_path, metrics) as model:
        value = metrics.registry.get_sample_value
        assert not value("ganymede_batch_rows_count", {"model": "tiny"})
        await model.infer("generate", random_rows(3), timeout_s=30)
        assert value("ganymede_batch_rows_count", {"model": "tiny"}) == 1
        assert value("ganymede_batch_rows_sum", {"model": "tiny"}) == 3
        assert value("ganymede_padding_rows_total", {"model": "tiny"}) == 0


async def test_a_model_that_fails_its_canary_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise GraphMismatch("nonsense")

    monkeypatch.setattr(opening, "check_answer", refuse)
    with pytest.raises(GraphMismatch, match="nonsense"):
        await load(tiny_bundle(tmp_path), ServiceConfig(), "cpu", Metrics())
    assert not [each for each in threading.enumerate() if str(tmp_path) in each.name]
