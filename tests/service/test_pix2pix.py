"""pix2pix over HTTP: pictures of any size, one draw of the dropout a seed, each size its batch."""

from __future__ import annotations

import asyncio
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
from export.manifest import Noise
from export.publish import export_bundle
from export.servable import offer
from service.app import create_app
from service.config import ServiceConfig
from service.images import Pixels
from tests.export.test_translators import trained
from tests.service.conftest import serving
from tests.service.pictures import decode
from training.layers import to_uint8
from training.run import LoadedRun

pytestmark = pytest.mark.anyio

STRIDE = 8


@pytest.fixture(scope="module")
def run() -> LoadedRun:
    """Weights at random, but always the same: grey pictures to RGB, with two levels of dropout."""
    return trained()


@pytest.fixture(scope="module")
async def client(
    run: LoadedRun, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    models = tmp_path_factory.mktemp("models")
    export_bundle(run, models, "shades", torchscript=False)
    config = ServiceConfig(models=(models,), watch_s=0, cache_bytes=0)
    async with serving(create_app(config)) as client:
        yield client


def picture(height: int, width: int) -> Pixels:
    return np.random.default_rng(height).integers(0, 256, (height, width), np.uint8)


async def translate(
    client: httpx.AsyncClient,
    pixels: Pixels,
    **fields: Any,  # noqa: ANN401
) -> list[tuple[int, Pixels]]:
    """The seed and the pixels of each picture of the reply."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    body = {"image": b64encode(stream.getvalue()).decode(), **fields}
    reply = await client.post("/translate", json=body)
    assert reply.status_code == 200, reply.text
    return [(one["seed"], decode(b64decode(one["data"]))) for one in reply.json()["images"]]


def expected(run: LoadedRun, pixels: Pixels, seed: int) -> Pixels:
    """What the network itself makes of the picture, padded by its own reflection and cut out."""
    graph = offer(run).graphs["translator"]
    height, width = pixels.shape
    padding = [(0, -side % STRIDE) for side in pixels.shape]
    padded = np.pad(pixels, padding, mode="reflect")
    image = torch.from_numpy(padded[None, None].astype(np.float32) / 255 * 2 - 1)
    masks = [
        torch.from_numpy(draw(entry, [seed], *padded.shape))
        for entry in graph.inputs
        if isinstance(entry, Noise)
    ]
    with torch.inference_mode():
        made = to_uint8(run.recipe.generator(image, *masks)).numpy()[0]
    cut: Pixels = made[:height, :width]
    return cut


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (17, 16), (21, 35), (64, 40)])
async def test_a_picture_of_any_size_comes_back_in_that_size(
    client: httpx.AsyncClient, run: LoadedRun, size: tuple[int, int]
) -> None:
    [(seed, made)] = await translate(client, picture(*size), seed=5)
    assert seed == 5
    assert made.shape == (*size, 3)
    difference = np.abs(made.astype(int) - expected(run, picture(*size), 5))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


async def test_a_seed_is_a_draw_of_the_dropout(client: httpx.AsyncClient) -> None:
    several = await translate(client, picture(16, 16), seed=11, num_images=4)
    assert [seed for seed, _ in several] == [11, 12, 13, 14]
    assert len({made.tobytes() for _, made in several}) == 4
    for seed, made in several:
        [(_, alone)] = await translate(client, picture(16, 16), seed=seed)
        assert np.array_equal(alone, made)


async def test_sizes_asked_for_at_once_are_answered_as_alone(client: httpx.AsyncClient) -> None:
    asked = [(picture(*size), seed) for seed in (1, 2) for size in ((16, 16), (20, 31), (32, 16))]
    at_once = await asyncio.gather(
        *(translate(client, pixels, seed=seed, num_images=2) for pixels, seed in asked)
    )
    for (pixels, seed), together in zip(asked, at_once, strict=True):
        alone = await translate(client, pixels, seed=seed, num_images=2)
        assert [one for one, _ in together] == [seed, seed + 1]
        for (_, one), (_, other) in zip(together, alone, strict=True):
            assert np.array_equal(one, other)


async def test_colour_is_sent_to_a_model_of_grey(client: httpx.AsyncClient) -> None:
    grey = picture(16, 16)
    [(_, made)] = await translate(client, grey, seed=1)
    [(_, same)] = await translate(client, np.repeat(grey[..., None], 3, axis=2), seed=1)
    assert np.array_equal(made, same)


async def test_a_picture_too_small_says_what_would_fit(client: httpx.AsyncClient) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture(9, 40)).save(stream, "PNG")
    body = {"image": b64encode(stream.getvalue()).decode()}
    reply = await client.post("/translate", json=body)
    assert reply.status_code == 422
    assert "padded to multiples of 8" in reply.json()["detail"]
