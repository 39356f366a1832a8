"""Translation between two domains over HTTP: both ways, several styles, a picture's style."""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from export.draw import draw
from export.manifest import Latent
from export.publish import export_bundle
from service.app import create_app
from service.config import ServiceConfig
from service.images import Pixels
from tests.export.test_unpaired import trained
from tests.service.conftest import serving
from tests.service.pictures import decode
from training.layers import to_uint8
from training.run import LoadedRun

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def run() -> LoadedRun:
    return trained()


@pytest.fixture(scope="module")
async def client(
    run: LoadedRun, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    models = tmp_path_factory.mktemp("models")
    export_bundle(run, models, "drawings", torchscript=False)
    config = ServiceConfig(models=(models,), watch_s=0, cache_bytes=0)
    async with serving(create_app(config)) as client:
        yield client


def picture(height: int, width: int) -> Pixels:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def body(pixels: Pixels, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return {"image": b64encode(stream.getvalue()).decode(), **fields}


async def translate(
    client: httpx.AsyncClient,
    pixels: Pixels,
    **fields: Any,  # noqa: ANN401
) -> list[tuple[str, Pixels]]:
    """The domain and the pixels of each picture of the reply."""
    reply = await client.post("/translate", json=body(pixels, **fields))
    assert reply.status_code == 200, reply.text
    return [(one["label"], decode(b64decode(one["data"]))) for one in reply.json()["images"]]


def as_tensor(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255 * 2 - 1)


async def test_the_label_chooses_the_direction(client: httpx.AsyncClient) -> None:
    [(one, drawn)] = await translate(client, picture(16, 20), label="drawn", seed=5)
    [(other, flat)] = await translate(client, picture(16, 20), label=1, seed=5)
    assert (one, other) == ("drawn", "flat")
    assert drawn.shape == flat.shape == (16, 20, 3)
    assert not np.array_equal(drawn, flat)


@pytest.mark.parametrize("size", [(16, 16), (21, 35)])
async def test_each_seed_is_a_style(client: httpx.AsyncClient, size: tuple[int, int]) -> None:
    several = await translate(client, picture(*size), label="flat", seed=5, num_images=3)
    assert [label for label, _ in several] == ["flat"] * 3
    assert len({made.tobytes() for _, made in several}) == 3
    [(_, alone)] = await translate(client, picture(*size), label="flat", seed=6)
    assert np.array_equal(alone, several[1][1])


async def test_without_a_label_the_seed_draws_it_and_the_reply_tells(
    client: httpx.AsyncClient, run: LoadedRun
) -> None:
    several = await translate(client, picture(16, 16), seed=0, num_images=6)
    labels = [label for label, _ in several]
    assert set(labels) == {"drawn", "flat"}
    [(_, same)] = await translate(client, picture(16, 16), seed=2, label=labels[2])
    assert np.array_equal(same, several[2][1])


async def test_an_unknown_domain_says_which_there_are(client: httpx.AsyncClient) -> None:
    reply = await client.post("/translate", json=body(picture(16, 16), label="flatt"))
    assert reply.status_code == 422
    assert "flat" in reply.text


async def test_encode_tells_the_style_that_translate_takes(
    client: httpx.AsyncClient, run: LoadedRun
) -> None:
    reply = await client.post("/encode", json=body(picture(16, 16)))
    assert reply.status_code == 200, reply.text
    network: Any = run.recipe.generator
    expected = network.style(as_tensor(picture(16, 16)))[0]
    assert np.allclose(reply.json()["vector"], expected, atol=1e-4)


async def test_a_picture_is_what_the_network_makes_of_it(
    client: httpx.AsyncClient, run: LoadedRun
) -> None:
    graph = (await client.get("/models/drawings")).json()
    assert {"translate", "encode"} <= set(graph["tasks"])
    [(_, made)] = await translate(client, picture(16, 16), label="drawn", seed=7)

    style = torch.from_numpy(draw(Latent(name="style", shape=(3,)), [7], 16, 16))
    network: Any = run.recipe.generator
    with torch.inference_mode():
        answer = network(as_tensor(picture(16, 16)), torch.tensor([0]), style)
    assert np.abs(to_uint8(answer).numpy()[0].astype(int) - made).max() <= 1
