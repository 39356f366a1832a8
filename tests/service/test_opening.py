"""From a bundle to an engine with real sessions: what is measured, chosen, kept and closed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle import Bundle
from service import opening
from service.config import ServiceConfig
from service.cost import CostTable
from service.lanes import Lanes, Layout
from service.metrics import Metrics
from service.opening import GraphOpener, open_engine
from service.rows import Rows
from service.session import OrtSession
from service.signature import GraphMismatch
from tests.tiny import LATENT, tiny_bundle

pytestmark = pytest.mark.anyio

WIDE, NARROW = Lanes(1, 2), Lanes(2, 1)
ELEMENTS = LATENT + 2


def rows(count: int) -> Rows:
    z = np.random.default_rng(0).standard_normal((count, LATENT), dtype=np.float32)
    label, ones = np.zeros(count, np.int64), np.ones(count, np.float32)
    return Rows({"z": z, "label": label, "truncation": ones})


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "usable_cores", lambda: 2)


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path)


def opener(bundle: Bundle, **settings: Any) -> GraphOpener:  # noqa: ANN401
    graph = bundle.manifest.graph("generate")
    return GraphOpener(bundle, graph, ServiceConfig(**settings), "cpu")


def measured(monkeypatch: pytest.MonkeyPatch, seconds: dict[Lanes, dict[int, float]]) -> None:
    """Let each layout of lanes have these costs."""

    async def measure(self: GraphOpener, session: OrtSession, lanes: Lanes) -> CostTable:
        return CostTable({ELEMENTS: dict(seconds[lanes])})

    monkeypatch.setattr(GraphOpener, "measure", measure)


def threads_of(bundle: Bundle) -> list[str]:
    folder = str(bundle.path)
    return [each.name for each in threading.enumerate() if folder in each.name]


async def test_every_bucket_is_measured_on_every_lane(tiny: Bundle) -> None:
    made = opener(tiny, max_batch_rows=3)
    assert made.candidates == (WIDE, NARROW)
    session = await made.open(NARROW)
    sizes: list[int] = []
    session.observe = lambda rows, padding_rows, seconds: sizes.append(rows)
    costs = await made.measure(session, NARROW)
    await session.close()
    assert list(costs.columns()) == [ELEMENTS]
    assert list(costs.columns()[ELEMENTS]) == [1, 2, 3]
    assert all(seconds > 0 for seconds in costs.columns()[ELEMENTS].values())
    assert set(sizes) == {1, 2, 3}
    assert all(sizes.count(size) >= 4 for size in (1, 2, 3))  # both lanes, the first run and one


async def test_a_worker_uses_no_more_than_its_cores(tiny: Bundle) -> None:
    assert opener(tiny, cores=1).candidates == (Lanes(1, 1),)


async def test_the_best_lanes_are_kept_open_and_the_others_closed(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, {WIDE: {1: 1.0, 4: 2.0}, NARROW: {1: 3.0, 4: 9.0}})
    fitted = await opener(tiny).fit()
    assert fitted.layout == Layout(WIDE, None, max_batch_rows=4, alone_rows=0)
    assert list(fitted.sessions) == [WIDE]
    assert list(fitted.costs) == [WIDE, NARROW]  # to be looked at
    assert len(threads_of(tiny)) == 1
    await fitted.sessions[WIDE].close()
    assert threads_of(tiny) == []


async def test_both_kinds_of_lanes_give_the_same_pictures(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, {WIDE: {1: 0.7, 2: 1.4, 4: 2.8}, NARROW: {1: 1.0, 2: 2.0, 4: 4.0}})
    config = ServiceConfig(max_batch_rows=4)
    graph = tiny.manifest.graph("generate")
    engine = await open_engine(tiny, graph, config, "cpu", Metrics())
    assert engine.layout == Layout(NARROW, WIDE, max_batch_rows=4, alone_rows=1)
    asked = rows(11)
    split = await engine.batcher.submit(asked, key=asked.shape_key(), nbytes=1)
    whole = Rows.join(split.parts)["image"]
    for k in range(len(asked)):
        row = asked[k : k + 1]
        alone = await engine.batcher.submit(row, key=row.shape_key(), nbytes=1)
        assert np.array_equal(alone.parts[0]["image"][0], whole[k])
    await engine.close()
    assert threads_of(tiny) == []


def fails(monkeypatch: pytest.MonkeyPatch, failing: Lanes) -> None:
    """Let one layout of lanes fail while it is measured."""

    async def measure(self: GraphOpener, session: OrtSession, lanes: Lanes) -> CostTable:
        if lanes == failing:
            raise GraphMismatch("out of memory")
        return CostTable({ELEMENTS: {1: 1.0}})

    monkeypatch.setattr(GraphOpener, "measure", measure)


async def test_lanes_that_fail_where_others_did_not_are_left_out(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fails(monkeypatch, NARROW)
    fitted = await opener(tiny).fit()
    assert fitted.layout.busy == WIDE
    assert list(fitted.sessions) == list(fitted.costs) == [WIDE]
    assert len(threads_of(tiny)) == 1
    assert "is left out: out of memory" in caplog.text
    await fitted.sessions[WIDE].close()


async def test_a_failure_while_measuring_leaves_nothing_open(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, WIDE)
    with pytest.raises(GraphMismatch, match="out of memory"):
        await opener(tiny).fit()
    assert threads_of(tiny) == []


async def test_settings_leave_nothing_to_measure_but_the_costs(tiny: Bundle) -> None:
    fitted = await opener(tiny, lanes=2, threads=1, max_batch_rows=2).fit()
    assert fitted.layout == Layout(NARROW, None, max_batch_rows=2, alone_rows=0)
    await fitted.sessions[NARROW].close()


async def test_a_check_runs_as_many_rows_as_it_is_told(tiny: Bundle) -> None:
    made = opener(tiny)
    session = await made.open(WIDE)
    sizes: list[int] = []
    session.observe = lambda rows, padding_rows, seconds: sizes.append(rows)
    await made.check(session, 5)
    await session.close()
    assert sizes == [5]
