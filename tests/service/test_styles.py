"""Several pictures of one: a translator with a latent, exported, and asked for styles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from export.bundle import load_bundle
from export.manifest import Latent
from export.publish import export_bundle
from service.app import create_app
from service.config import ServiceConfig
from tests.export.test_translators import trained
from tests.service.conftest import serving
from tests.service.test_pix2pix import picture, translate

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("styles")
    export_bundle(trained(latent=3, dropout_levels=0), folder, "styles")
    return folder


@pytest.fixture(scope="module")
async def client(models: Path) -> AsyncIterator[httpx.AsyncClient]:
    config = ServiceConfig(models=(models,), watch_s=0, cache_bytes=0)
    async with serving(create_app(config)) as client:
        yield client


def test_the_bundle_declares_the_latent_and_agrees_with_itself(models: Path) -> None:
    manifest = load_bundle(models / "styles" / "1").manifest
    image, z = manifest.graph("translate").inputs
    assert image.role == "image"
    assert z == Latent(name="z", shape=(3,))
    assert manifest.parity is not None
    assert manifest.parity.torchscript_max_abs is not None


@pytest.mark.parametrize("size", [(16, 16), (21, 35)])
async def test_each_seed_is_a_style(client: httpx.AsyncClient, size: tuple[int, int]) -> None:
    several = await translate(client, picture(*size), seed=5, num_images=3)
    assert [seed for seed, _ in several] == [5, 6, 7]
    assert len({made.tobytes() for _, made in several}) == 3
    [(_, alone)] = await translate(client, picture(*size), seed=6)
    assert np.array_equal(alone, several[1][1])
    assert alone.shape == (*size, 3)
