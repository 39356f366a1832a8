"""What the V2 pages tell: health, metadata, configuration, statistics, the index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from export.bundle import MANIFEST
from export.manifest import FreeSize
from service import __version__
from service.app import create_app
from service.config import ServiceConfig
from tests.service.conftest import Serve
from tests.tiny import tiny_bundle
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio

FREE = FreeSize(min_side=4, max_side=32, max_pixels=512, stride=4, warm=((8, 8),))


async def told(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    reply = await client.get(path)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    document: dict[str, Any] = reply.json()
    return document


async def test_the_server_says_what_it_is(client: httpx.AsyncClient) -> None:
    document = await told(client, "/v2")
    assert (document["name"], document["version"]) == ("ganymede", __version__)
    assert {"binary_tensor_data", "model_repository", "statistics"} <= {*document["extensions"]}
    assert await told(client, "/v2/health/live") == {"live": True}
    assert (await told(client, "/v2/health/ready"))["ready"] is True


async def test_a_model_says_its_tensors(client: httpx.AsyncClient) -> None:
    document = await told(client, "/v2/models/colour")
    assert document["versions"] == ["1", "2"]
    assert document["inputs"] == [
        {"name": "z", "datatype": "FP32", "shape": [-1, 8]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "truncation", "datatype": "FP32", "shape": [-1]},
    ]
    assert document["outputs"][0] == {"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}
    pinned = await told(client, "/v2/models/colour/versions/1")
    assert pinned["outputs"][0]["shape"] == [-1, 16, 16, 3]


async def test_a_free_size_is_a_free_axis(config: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(config)) as client:
        document = await told(client, "/v2/models/free")
        assert document["inputs"][0]["shape"] == [-1, 3, -1, -1]
        assert document["outputs"][0]["shape"] == [-1, -1, -1, 3]
        configured = await told(client, "/v2/models/free/config")
        optional = {entry["name"]: entry["optional"] for entry in configured["input"]}
        assert optional == {"source": False, "strength": True, "grain": True}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder, name="tiny")
    tiny_bundle(folder, name="colour", channels=3, size=16)
    tiny_bundle(folder, name="colour", version=2, channels=3)
    picture_bundle(folder, name="free", grain=True, size=FREE)
    broken = tiny_bundle(folder, name="colour", version=3)
    (broken.path / MANIFEST).write_text("{}")
    return folder


async def test_a_configuration_says_what_may_be_left_out(client: httpx.AsyncClient) -> None:
    document = await told(client, "/v2/models/tiny/config")
    assert document["max_batch_size"] == 64
    assert document["input"][0] == {
        "name": "z",
        "data_type": "TYPE_FP32",
        "dims": [8],
        "optional": True,
    }
    assert document["output"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [8, 8, 1]}]
    assert document["dynamic_batching"]["priority_levels"] == 2
    assert document["parameters"]["task"] == {"string_value": "generate"}


async def test_the_index_tells_what_serves_and_what_cannot(client: httpx.AsyncClient) -> None:
    everything = (await client.post("/v2/repository/index")).json()
    assert [(each["name"], each["version"], each["state"]) for each in everything] == [
        ("colour", "1", "READY"),
        ("colour", "2", "READY"),
        ("colour", "3", "UNAVAILABLE"),
        ("free", "1", "READY"),
        ("tiny", "1", "READY"),
    ]
    assert "manifest" in everything[2]["reason"]
    ready = await client.post("/v2/repository/index", json={"ready": True})
    assert ready.json() == [each for each in everything if each["state"] == "READY"]
    wrong = await client.post("/v2/repository/index", json={"ready": 1})
    assert (wrong.status_code, wrong.json().keys()) == (400, {"error"})


async def test_statistics_count_what_was_answered(config: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(config)) as client:
        for rows in (2, 2, 3):
            wish = {"parameters": {"num_images": rows}}
            assert (await client.post("/v2/models/tiny/infer", json=wish)).status_code == 200
        # Every route counts, and a request that never comes to the model does not.
        assert (await client.post("/generate", json={})).status_code == 200
        assert (await client.post("/v2/models/tiny/infer", content=b"?")).status_code == 400
        [tiny] = (await told(client, "/v2/models/tiny/stats"))["model_stats"]
        assert (tiny["name"], tiny["version"]) == ("tiny", "1")
        assert (tiny["inference_count"], tiny["execution_count"]) == (8, 4)
        by_size = {each["batch_size"]: each["compute_infer"] for each in tiny["batch_stats"]}
        assert {size: total["count"] for size, total in by_size.items()} == {1: 1, 2: 2, 3: 1}
        stats = tiny["inference_stats"]
        assert [stats[what]["count"] for what in ("success", "queue", "compute_infer")] == [4] * 3
        assert stats["success"]["ns"] == pytest.approx(
            stats["queue"]["ns"] + stats["compute_infer"]["ns"], abs=10
        )
        assert min(total["ns"] for total in by_size.values()) > 0
        assert stats["fail"]["count"] == 0
        assert tiny["last_inference"] > 1.7e12
        everything = (await told(client, "/v2/models/stats"))["model_stats"]
        assert [(each["name"], each["version"]) for each in everything] == [
            ("colour", "1"), ("colour", "2"), ("free", "1"), ("tiny", "1")
        ]  # fmt: skip
        [pinned] = (await told(client, "/v2/models/colour/versions/2/stats"))["model_stats"]
        assert (pinned["version"], pinned["inference_count"]) == ("2", 0)
        both = (await told(client, "/v2/models/colour/stats"))["model_stats"]
        assert [each["version"] for each in both] == ["1", "2"]


async def test_a_model_is_ready_when_it_answers(client: httpx.AsyncClient) -> None:
    for path in ("/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready"):
        assert await told(client, path) == {"name": "tiny", "ready": True}
