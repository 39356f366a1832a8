"""One seed, one picture: in any batch, beside any neighbours, in any container, after a restart."""

from __future__ import annotations

import asyncio
import io
import random
import re
import zipfile
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from export.draw import image_seed
from service.app import create_app
from service.config import ServiceConfig
from service.images import Pixels, grid
from tests.service.conftest import serving
from tests.service.pictures import decode, load
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.anyio

REQUESTS = 300
CLASSES = ("circle", "square", "star")
ACCEPTS = (
    "application/json",
    "application/zip",
    "application/x-npy",
    "multipart/mixed",
    "image/png",
)


@dataclass(frozen=True)
class Picture:
    """All that one picture depends on."""

    model: str
    seed: int
    label: str | None
    truncation: float


@dataclass(frozen=True)
class Wish:
    """A request, and the pictures that it must be answered with."""

    accept: str
    body: dict[str, Any]
    pictures: tuple[Picture, ...]


def random_wish(chance: random.Random) -> Wish:
    model = chance.choice(("grey", "colour"))
    count = chance.choice((1, 1, 1, 1, 2, 2, 3, 5, 20))
    seed = chance.choice((chance.randrange(2**53), 2**53 - 2, chance.randrange(40)))
    truncation = chance.choice((1.0, 0.5, chance.random()))
    labels = [chance.choice((*CLASSES, None))] * count
    if chance.random() < 0.3:
        labels = [chance.choice(CLASSES) for _ in range(count)]
    body: dict[str, Any] = {"model": model, "num_images": count, "seed": seed}
    body["truncation"] = truncation
    if labels[0] is not None:
        body["label"] = labels[0] if len(set(labels)) == 1 else labels
    pictures = tuple(
        Picture(model, image_seed(seed, k), label, truncation) for k, label in enumerate(labels)
    )
    return Wish(chance.choice(ACCEPTS), body, pictures)


def shown(reply: httpx.Response, count: int) -> Pixels:
    """The pictures in a reply: [N, H, W, C]."""
    kind, _, _ = reply.headers["content-type"].partition(";")
    match kind:
        case "application/x-npy":
            return load(reply.content)
        case "application/json":
            images = reply.json()["images"]
            return np.stack([decode(b64decode(image["data"])) for image in images])
        case "application/zip":
            archive = zipfile.ZipFile(io.BytesIO(reply.content))
            return np.stack([decode(archive.read(name)) for name in archive.namelist()[1:]])
        case "multipart/mixed":
            head = f"Content-Type: {reply.headers['content-type']}\r\n\r\n".encode()
            _, *files = message_from_bytes(head + reply.content, policy=policy.HTTP).iter_parts()
            return np.stack([decode(file.get_content()) for file in files])
    return cells(decode(reply.content), count)


async def alone(client: httpx.AsyncClient, picture: Picture) -> Pixels:
    """The picture asked for by itself, with nothing else to do."""
    body: dict[str, Any] = {"model": picture.model, "seed": picture.seed}
    body["truncation"] = picture.truncation
    if picture.label is not None:
        body["label"] = picture.label
    reply = await client.post("/generate", json=body, headers={"Accept": "application/x-npy"})
    assert reply.status_code == 200
    pixels: Pixels = shown(reply, 1)[0]
    return pixels


async def answered(client: httpx.AsyncClient, wish: Wish) -> httpx.Response:
    reply = await client.post("/generate", json=wish.body, headers={"Accept": wish.accept})
    assert reply.status_code == 200, reply.text
    return reply


@pytest.fixture(scope="module")
def seeds_config(tmp_path_factory: pytest.TempPathFactory) -> ServiceConfig:
    folder: Path = tmp_path_factory.mktemp("models")
    tiny_bundle(folder, name="grey", classes=CLASSES, convolution=True)
    tiny_bundle(folder, name="colour", classes=CLASSES, channels=3, convolution=True, salt=1)
    # The queue has room for every image of the test at once; nothing is kept from before.
    return ServiceConfig(models=(folder,), watch_s=0, queue_images=64 * REQUESTS, cache_bytes=0)


@pytest.fixture(scope="module")
async def seeds_client(seeds_config: ServiceConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(create_app(seeds_config)) as client:
        yield client


async def test_hundreds_of_mixed_requests_at_once_give_the_pictures_asked_for_alone(
    seeds_client: httpx.AsyncClient, seeds_config: ServiceConfig
) -> None:
    chance = random.Random(20)
    wishes = [random_wish(chance) for _ in range(REQUESTS)]
    assert {wish.accept for wish in wishes} == set(ACCEPTS)
    replies = await asyncio.gather(*(answered(seeds_client, wish) for wish in wishes))
    assert await rows_of_a_batch(seeds_client) > 4
    # Another service, started afresh: the pictures outlive a restart.
    async with serving(create_app(seeds_config)) as other:
        asked = {picture for wish in wishes for picture in wish.pictures}
        expected = {picture: await alone(other, picture) for picture in asked}
    for wish, reply in zip(wishes, replies, strict=True):
        for picture, found in zip(wish.pictures, shown(reply, len(wish.pictures)), strict=True):
            assert np.array_equal(found, expected[picture]), (wish, picture)


async def rows_of_a_batch(client: httpx.AsyncClient) -> float:
    """Images in one inference, on average."""
    text = (await client.get("/metrics")).text
    found = re.findall(r"^ganymede_batch_rows_(sum|count)\{.*\} (.*)$", text, re.MULTILINE)
    rows, batches = (sum(float(n) for kind, n in found if kind == k) for k in ("sum", "count"))
    return rows / batches


def cells(whole: Pixels, count: int) -> Pixels:
    """The pictures of a grid, which has 8x8 pixels for each."""
    columns = whole.shape[1] // 8
    found = np.stack([whole[k // columns * 8 :, k % columns * 8 :][:8, :8] for k in range(count)])
    assert np.array_equal(grid(found), whole)
    return found


async def test_the_reply_names_the_seed_of_every_image(seeds_client: httpx.AsyncClient) -> None:
    reply = await seeds_client.post(
        "/generate", json={"model": "grey", "num_images": 3, "seed": 2**53 - 2}
    )
    told = [image["seed"] for image in reply.json()["images"]]
    assert told == [2**53 - 2, 2**53 - 1, 0]
    for seed, image in zip(told, reply.json()["images"], strict=True):
        picture = Picture("grey", seed, image["label"], 1.0)
        assert np.array_equal(decode(b64decode(image["data"])), await alone(seeds_client, picture))
