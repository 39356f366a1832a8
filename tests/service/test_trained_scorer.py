"""A small energy-based pair, trained, exported and served: it draws, and tells the strange."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from export.publish import export_bundle
from service.config import ServiceConfig
from tests.service.pictures import decode
from tests.training.tiny import Silent, never
from training.config import validate
from training.run import load_run
from training.train import train

pytestmark = pytest.mark.anyio

SIDE = 16
Pictures = NDArray[np.uint8]


def stripes(count: int, seed: int, *, upright: bool = True) -> Pictures:
    """Pictures with one bright stripe at any place, [N, H, W, 1]; those that are learnt stand."""
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 32, (count, SIDE, SIDE, 1), dtype=np.uint8)
    for picture, place in zip(pictures, random.integers(0, SIDE - 3, count), strict=True):
        picture[:, place : place + 3] = 230
    return pictures if upright else pictures.swapaxes(1, 2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the bundle, of a run of 100 steps."""
    folder = tmp_path_factory.mktemp("scorer")
    np.savez(folder / "stripes.npz", images=stripes(96, 0))
    recipe = {"networks": "perceptrons", "hidden": 32, "energy": "cosine", "margin": 0.5}
    learning = {"pretrain_kimg": 0.8, "d_optimizer": {"lr": 0.003}}
    raw = {
        "recipe": {"system": "ebgan", "latent": 4, "code": 8, **recipe, **learning},
        "data": {"source": str(folder / "stripes.npz"), "size": SIDE},
        "schedule": {"kimg": 1.6, "batch": 16, "precision": "float32"},
    }
    assert train(validate(raw, "test"), folder / "run", Silent(), never)
    export_bundle(load_run(folder / "run"), folder / "models", "stripes")
    return folder / "models"


@pytest.fixture(scope="module")
def config(models: Path) -> ServiceConfig:
    return ServiceConfig(models=(models,), watch_s=0, cache_bytes=0)


async def score(client: httpx.AsyncClient, picture: Pictures) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.fromarray(picture[..., 0]).save(stream, "PNG")
    reply = await client.post("/score", files={"image": ("it.png", stream.getvalue())})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_it_generates(client: httpx.AsyncClient) -> None:
    reply = await client.post("/generate", json={"seed": 7}, headers={"Accept": "image/png"})
    assert reply.status_code == 200, reply.text
    assert decode(reply.content).shape[:2] == (SIDE, SIDE)


async def test_what_is_unlike_the_images_learnt_from_has_a_higher_energy(
    client: httpx.AsyncClient,
) -> None:
    known = [await score(client, picture) for picture in stripes(12, 1)]
    strange = [await score(client, picture) for picture in stripes(12, 1, upright=False)]
    assert max(one["score"] for one in known) < min(one["score"] for one in strange)
    assert [one["scores"]["share_below"] for one in strange] == [1.0] * 12
    assert 0 < np.median([one["scores"]["share_below"] for one in known]) < 1


async def test_the_first_score_is_the_answer_and_all_are_named(client: httpx.AsyncClient) -> None:
    found = await score(client, stripes(1, 2)[0])
    assert list(found["scores"]) == ["energy", "share_below"]
    assert found["score"] == found["scores"]["energy"]


async def test_the_same_picture_has_the_same_score(client: httpx.AsyncClient) -> None:
    one, again = [await score(client, stripes(1, 3)[0]) for _ in range(2)]
    assert one["scores"] == again["scores"]
