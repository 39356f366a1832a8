"""One seed, one file: with one worker or several, from a cache or not, under load, during reloads.

``test_seeds.py`` has the batches and the containers; these are whole services.
"""

from __future__ import annotations

import asyncio
import random
from base64 import b64decode
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.service.processes import running
from tests.service.test_fleet_process import metrics
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.anyio

CLIENTS, TIMES = 12, 4
RELOADS = 2  # the third would wait until the first version that it replaced has ended


class Wish(NamedTuple):
    """Pictures that are asked for again and again."""

    seed: int
    images: int
    label: str


WISHES = [
    Wish(seed, images, label)
    for seed in (0, 1, 2**53 - 1)
    for images in (1, 3, 20)
    for label in ("circle", "star")
]


async def pngs(client: httpx.AsyncClient, wish: Wish) -> tuple[bytes, ...]:
    body = {"seed": wish.seed, "num_images": wish.images, "label": wish.label}
    reply = await client.post("/generate", json=body)
    assert reply.status_code == 200, reply.text
    return tuple(b64decode(image["data"]) for image in reply.json()["images"])


async def replies_under_load(url: str) -> dict[Wish, set[tuple[bytes, ...]]]:
    """Every different reply to each wish, from many clients at once and during reloads."""
    found: dict[Wish, set[tuple[bytes, ...]]] = {wish: set() for wish in WISHES}
    wishes = iter(random.Random(8).sample(WISHES * TIMES, len(WISHES) * TIMES))
    limits = httpx.Limits(max_connections=CLIENTS + 1)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:

        async def ask() -> None:
            for wish in wishes:
                found[wish].add(await pngs(client, wish))

        async def reload() -> None:
            for _ in range(RELOADS):
                assert (await client.post("/admin/models/tiny/reload")).status_code == 200
                for wish in WISHES[::5]:
                    found[wish].add(await pngs(client, wish))

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(reload())
            for _ in range(CLIENTS):
                group.create_task(ask())
    return found


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_replies_are_identical_whoever_makes_them(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models", channels=3, convolution=True)
    options = "--models", tmp_path / "models", "--workers"
    with running(tmp_path / "alone", *options, "1", CACHE_BYTES="0") as (_, url):
        alone = await replies_under_load(url)
        assert metrics(url)["ganymede_workers"] == 1
        assert metrics(url)["ganymede_cache_bytes"] == 0
    with running(tmp_path / "together", *options, "2") as (_, url):
        together = await replies_under_load(url)
        assert metrics(url)["ganymede_workers"] == 2
        assert metrics(url)["ganymede_cache_bytes"] > 0
    assert [len(files) for files in alone.values()] == [1] * len(WISHES)
    assert together == alone
    assert len({file for [files] in alone.values() for file in files}) > len(WISHES)
