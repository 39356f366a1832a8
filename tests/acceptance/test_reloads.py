"""Memory over 200 reloads of a real bundle on the real ONNX Runtime: flat."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import pytest

from service import retirement
from service.canary import specimen
from service.config import ServiceConfig
from service.desired import ReloadChange
from service.metrics import Metrics
from service.repository import Repository
from tests.tiny import tiny_bundle

pytestmark = [pytest.mark.acceptance, pytest.mark.anyio]

SETTLED, RELOADS = 20, 200  # what the first reloads fill, such as pools of threads, is not a leak
GROWTH_BYTES = 16 * 2**20  # a model that is kept takes more than 2 MiB, 180 of them 450


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_memory_is_flat_over_200_reloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc, which is not here")
    monkeypatch.setattr(retirement, "LINGER_S", 0)
    tiny_bundle(tmp_path, size=64, channels=3)
    models = Repository(ServiceConfig(models=(tmp_path,), max_batch_rows=4, watch_s=0), Metrics())
    await models.start()
    row = specimen(models.get("tiny").manifest.graph("generate"), 64, 64)
    told = []
    for reload in range(1, RELOADS + 1):
        change = ReloadChange(name="tiny")
        assert not await models.converge(models.desired.changed(change, await models.present()))
        await models.get("tiny").infer("generate", row, timeout_s=60)
        if reload % SETTLED == 0:
            while models._retirement.models:
                await asyncio.sleep(0)
            told.append(resident_bytes())
    await models.close()
    print(f"resident after every {SETTLED} reloads, in MiB: {[each // 2**20 for each in told]}")
    assert told[-1] - told[0] < GROWTH_BYTES
