"""An autoencoder and a VAE, trained on real pictures, exported and served: codes there and back."""

from __future__ import annotations

import asyncio
import io
import re
import urllib.request
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from PIL import Image

from export.publish import export_bundle
from service.config import ServiceConfig
from service.images import Pixels
from tests.service.pictures import decode
from tests.training.tiny import Silent
from training.config import load_preset
from training.data import load
from training.data.photograph_blocks import photographs
from training.metrics.reconstruction import psnr_db
from training.run import load_run
from training.train import train

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
pytestmark = pytest.mark.anyio

PRESETS = {
    "blocks": ("autoencoder-blocks-fast", "schedule.kimg=60", "recipe.optimizer.lr=0.01"),
    "clothes": ("vae-fashion-fast", "schedule.kimg=15", "recipe.hidden=[64]"),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ServiceConfig:
    """Of a service with the coders, after a few steps of training."""
    folder = tmp_path_factory.mktemp("coders")
    for name, (preset, *settings) in PRESETS.items():
        training = load_preset(preset, [*settings, "schedule.precision=float32"])
        assert train(training, folder / name, Silent(), lambda: False)
        export_bundle(load_run(folder / name), folder / "models", name, torchscript=False)
    return ServiceConfig(models=(folder / "models",), watch_s=0, cache_bytes=0)


async def upload(
    client: httpx.AsyncClient,
    path: str,
    pixels: Pixels,
    accept: str,
    **fields: Any,  # noqa: ANN401
) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 else pixels).save(stream, "PNG")
    files = {"image": ("picture.png", stream.getvalue(), "image/png")}
    reply = await client.post(path, files=files, data=fields, headers={"Accept": accept})
    assert reply.status_code == 200, reply.text
    return reply.content


async def encode(client: httpx.AsyncClient, pixels: Pixels, model: str) -> np.ndarray[Any, Any]:
    content = await upload(client, "/encode", pixels, "application/x-npy", model=model)
    found: np.ndarray[Any, Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return found


async def generate(client: httpx.AsyncClient, **asked: Any) -> Pixels:  # noqa: ANN401
    """Every picture of the reply, side by side."""
    reply = await client.post("/generate", json=asked, headers={"Accept": "application/x-npy"})
    assert reply.status_code == 200, reply.text
    found: Pixels = np.load(io.BytesIO(reply.content), allow_pickle=False)
    return found


async def test_a_whole_photograph_is_compressed_by_its_blocks_and_comes_back(
    client: httpx.AsyncClient,
) -> None:
    picture = photographs()[1][100:228, 480:640]  # never seen in training
    codes = await encode(client, picture, "blocks")
    assert codes.shape == (16, 16, 20)  # a quarter of the numbers
    assert np.abs(codes).max() <= 1
    asked = {"model": "blocks", "latents": [codes.tolist()], "height": 128, "width": 160}
    (decoded,) = await generate(client, **asked)
    translated = decode(await upload(client, "/translate", picture, "image/png", model="blocks"))
    difference = decoded[..., 0].astype(int) - translated.reshape(decoded.shape[:2])
    assert np.abs(difference).max() <= 1
    assert psnr_db(decoded[..., 0], picture) > 22
    flat = np.full_like(picture, round(picture.mean()))
    assert psnr_db(decoded[..., 0], picture) > psnr_db(flat, picture) + 6


async def test_a_picture_of_no_whole_blocks_keeps_its_size(client: httpx.AsyncClient) -> None:
    picture = photographs()[0][:45, :61]
    found = decode(await upload(client, "/translate", picture, "image/png", model="blocks"))
    assert found.shape[:2] == (45, 61)
    assert psnr_db(found.reshape(45, 61), picture) > 20


async def test_pictures_on_the_way_between_two_uploaded_ones(client: httpx.AsyncClient) -> None:
    """Encoded, mixed by the caller, decoded: the ends are the reconstructions of the uploads."""
    first, last = load("fashion-mnist-subset", split="test").images[[0, 600]]
    start, end = [await encode(client, picture, "clothes") for picture in (first, last)]
    assert start.shape == (16,)
    latents = [((1 - t) * start + t * end).tolist() for t in np.linspace(0, 1, 5)]
    walk = await generate(client, model="clothes", latents=latents)
    assert walk.shape == (5, 28, 28, 1)
    for picture, found in ((first, walk[0]), (last, walk[-1])):
        body = await upload(client, "/translate", picture, "image/png", model="clothes", strength=0)
        difference = decode(body).reshape(28, 28).astype(int) - found[..., 0]
        assert np.abs(difference).max() <= 1
    toward = [psnr_db(found, walk[-1]) for found in walk[:-1]]
    assert toward == sorted(toward)


async def test_the_three_requests_of_the_readme_make_a_sheet(
    client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [example] = re.findall(r"```python\n(import json, urllib.+?)```", README, re.DOTALL)
    loop, asked = asyncio.get_running_loop(), list[str]()

    def urlopen(request: urllib.request.Request) -> io.BytesIO:
        path = request.full_url.removeprefix("http://localhost:8000")
        asked.append(path)
        body, headers = cast(bytes, request.data), dict(request.header_items())
        sent = client.post(path, content=body, headers=headers)
        reply = asyncio.run_coroutine_threadsafe(sent, loop).result(30)
        assert reply.status_code == 200, reply.text
        return io.BytesIO(reply.content)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    monkeypatch.chdir(tmp_path)
    first, last = load("fashion-mnist-subset", split="test").images[[0, 600]]
    for name, picture in (("first.png", first), ("last.png", last)):
        Image.fromarray(picture[..., 0]).save(name)
    await asyncio.to_thread(exec, example, {})
    assert asked == ["/encode?model=clothes", "/encode?model=clothes", "/generate"]
    codes = [(await encode(client, picture, "clothes")).tolist() for picture in (first, last)]
    ends = await generate(client, model="clothes", latents=codes)
    sheet = decode((tmp_path / "between.png").read_bytes())
    side = ends.shape[1]
    assert np.array_equal(sheet[:side, :side].reshape(side, side), ends[0, ..., 0])
    assert np.array_equal(sheet[-side:, -side:].reshape(side, side), ends[1, ..., 0])


async def test_reconstruction_draws_its_noise_from_the_seed(client: httpx.AsyncClient) -> None:
    (picture,) = load("fashion-mnist-subset", split="test").images[[3]]
    asked = [{"seed": 1}, {"seed": 1}, {"seed": 2}, {"seed": 2, "strength": 0}]
    one, again, other, mean = [
        decode(await upload(client, "/translate", picture, "image/png", model="clothes", **fields))
        for fields in asked
    ]
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert psnr_db(mean.reshape(28, 28), picture[..., 0]) > 12


async def test_samples_come_from_seeds(client: httpx.AsyncClient) -> None:
    samples = await generate(client, model="clothes", num_images=3, seed=5)
    (third,) = await generate(client, model="clothes", seed=7)
    assert np.array_equal(samples[2], third)
    assert samples.std() > 20
