"""V2 requests to models that start from pictures, that have several tasks, and of free size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from export.draw import draw
from export.manifest import FreeSize, Noise, Task
from service.config import ServiceConfig
from tests.service.v2.wire import in_binary, in_json, infer_binary, outputs
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio

TASKS: tuple[Task, ...] = ("translate", "encode", "score", "generate")
FREE = FreeSize(min_side=4, max_side=32, max_pixels=512, stride=4, warm=((8, 8),))
GRAIN = Noise(name="grain", shape=(3, "height", "width"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    picture_bundle(folder, name="free", grain=True, size=FREE)
    picture_bundle(folder, name="reader", tasks=("encode", "score"))
    picture_bundle(folder, name="whole", tasks=TASKS, size=FREE)
    return folder


@pytest.fixture(scope="module")
def config(models: Path) -> ServiceConfig:
    return ServiceConfig(models=(models,), watch_s=0)


def pictures(rows: int, height: int, width: int) -> np.ndarray:
    shape = (rows, 3, height, width)
    return np.random.default_rng(rows).uniform(-1, 1, shape).astype(np.float32)


async def test_noise_is_drawn_in_the_size_of_the_picture(client: httpx.AsyncClient) -> None:
    for height, width in ((8, 8), (12, 20)):
        source = pictures(2, height, width)
        grain = draw(GRAIN, [5, 6], height, width)
        wish: dict[str, Any] = {"parameters": {"seed": 5, "binary_data_output": True}}
        drawn = await infer_binary(
            client, wish | {"inputs": [in_binary("source", source, "FP32")]}, source, model="free"
        )
        given = [in_binary("source", source, "FP32"), in_binary("grain", grain, "FP32")]
        sent = await infer_binary(client, wish | {"inputs": given}, source, grain, model="free")
        found = outputs(drawn)["image"]
        np.testing.assert_array_equal(found, outputs(sent)["image"])
        assert found.shape == (2, height, width, 3)
        # The strength's default is 1, which turns a picture into its negative.
        levels = np.clip(np.round((grain - source + 1) * 127.5), 0, 255)
        np.testing.assert_allclose(found, levels.transpose(0, 2, 3, 1), atol=1)


async def test_each_task_is_a_parameter(client: httpx.AsyncClient) -> None:
    source = pictures(3, 8, 8)
    wish = {"inputs": [in_json("source", source, "FP32")]}
    url = "/v2/models/whole/infer"
    found = outputs(await client.post(url, json=wish | {"parameters": {"task": "encode"}}))
    np.testing.assert_allclose(found["vector"], source.mean(axis=(2, 3)), atol=1e-6)
    found = outputs(await client.post(url, json=wish | {"parameters": {"task": "score"}}))
    np.testing.assert_allclose(found["score"], source.mean(axis=(1, 2, 3)), atol=1e-6)
    parameters = {"task": "translate", "strength": 0.0}
    found = outputs(await client.post(url, json=wish | {"parameters": parameters}))
    assert found["image"].shape == (3, 8, 8, 3)
    sized = {"parameters": {"height": 8, "width": 12, "seed": 1}}  # generate, where there is one
    assert outputs(await client.post(url, json=sized))["image"].shape == (1, 8, 12, 3)


async def test_a_body_without_json_is_one_row(client: httpx.AsyncClient) -> None:
    source = pictures(1, 8, 8)
    reply = await client.post(
        "/v2/models/reader/infer",
        content=source.tobytes(),
        headers={"Inference-Header-Content-Length": "0"},
    )
    np.testing.assert_allclose(outputs(reply)["vector"], source.mean(axis=(2, 3)), atol=1e-6)
    short = await client.post(
        "/v2/models/reader/infer",
        content=source.tobytes()[:-1],
        headers={"Inference-Header-Content-Length": "0"},
    )
    assert short.status_code == 400
    assert "767 bytes" in short.json()["error"]


SOURCE = in_json("source", pictures(1, 8, 8), "FP32")
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no picture": ({"parameters": {"seed": 1}}, "input 'source' is missing"),
    "no axes": ({"inputs": [SOURCE | {"shape": [192]}]}, "[rows, channels, height, width]"),
    "another number of channels": (
        {"inputs": [in_json("source", pictures(1, 8, 8)[:, :1], "FP32")]},
        "send [1, 3, 8, 8]",
    ),
    "too small": ({"inputs": [in_json("source", pictures(1, 2, 8), "FP32")]}, "sides of 4 to 32"),
    "off the stride": (
        {"inputs": [in_json("source", pictures(1, 9, 8), "FP32")]},
        "multiples of 4",
    ),
    "no side": ({"inputs": [SOURCE | {"shape": [1, 3, 0, 8], "data": []}]}, "sides of 4 to 32"),
    "sizes that differ": (
        {"inputs": [SOURCE], "parameters": {"height": 12, "width": 12}},
        "make them agree",
    ),
    "noise of another size": (
        {"inputs": [SOURCE, in_json("grain", pictures(1, 12, 12), "FP32")]},
        "'grain' has the shape [1, 3, 12, 12]: send [1, 3, 8, 8]",
    ),
    "a scalar that it does not have": (
        {"inputs": [SOURCE], "parameters": {"truncation": 0.5}},
        "truncation",
    ),
    "a class": ({"inputs": [SOURCE], "parameters": {"label": 0}}, "no classes"),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_does_not_fit_is_told(client: httpx.AsyncClient, case: str) -> None:
    document, said = BAD[case]
    reply = await client.post("/v2/models/free/infer", json=document)
    assert reply.status_code == 400, reply.text
    assert said in reply.json()["error"]
