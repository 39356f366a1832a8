"""What was measured of a bundle is told by the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.evaluate import record
from export.manifest import Quality
from service.app import create_app
from service.config import ServiceConfig
from tests.service.conftest import serving
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.anyio


async def test_the_figures_of_a_bundle_are_shown_with_protocol_and_count(tmp_path: Path) -> None:
    figure = Quality(
        metric="KD-lite0",
        value=0.012,
        spread=0.001,
        reference=0.0004,
        samples=5_000,
        protocol="5000 samples against 5000 test images",
    )
    record(tiny_bundle(tmp_path), [figure])
    app = create_app(ServiceConfig(models=(tmp_path,), watch_s=0))
    async with serving(app) as client:
        shown = (await client.get("/models/tiny")).json()
    assert shown["manifest"]["quality"] == [figure.model_dump()]
