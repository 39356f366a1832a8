"""Pictures as OpenAI's interface asks for them are those of ``/generate``."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from export.manifest import FreeSize
from service.app import create_app
from service.config import ServiceConfig
from tests.service.conftest import Serve
from tests.service.held import Hold
from tests.service.pictures import decode
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio

URL = "/v1/images/generations"


async def ask(client: httpx.AsyncClient, prompt: str = "star", **body: object) -> Any:  # noqa: ANN401
    """The reply's document."""
    reply = await client.post(URL, json={"prompt": prompt, **body})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def refused(client: httpx.AsyncClient, status: int = 400, **body: object) -> dict[str, Any]:
    """The error's members."""
    reply = await client.post(URL, json={"prompt": "star", **body})
    assert reply.status_code == status, reply.text
    assert reply.json().keys() == {"error"}
    error: dict[str, Any] = reply.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("prompt", ["star", "STAR", "2"])
async def test_a_prompt_is_a_class_by_name_in_any_case_or_by_index(
    client: httpx.AsyncClient, prompt: str
) -> None:
    told = await ask(client, prompt, n=2, seed=7)
    same = (
        await client.post("/generate", json={"label": "star", "num_images": 2, "seed": 7})
    ).json()
    assert [each["b64_json"] for each in told["data"]] == [each["data"] for each in same["images"]]
    assert [each["revised_prompt"] for each in told["data"]] == ["star", "star"]
    assert [each["seed"] for each in told["data"]] == [7, 8]
    assert (told["size"], told["output_format"]) == ("8x8", "png")
    assert told["created"] > 0


async def test_a_seed_that_was_drawn_is_told_and_makes_the_same_again(
    client: httpx.AsyncClient,
) -> None:
    [first] = (await ask(client))["data"]
    [again] = (await ask(client, seed=first["seed"]))["data"]
    assert again == first


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_each_encoding(client: httpx.AsyncClient, kind: str) -> None:
    told = await ask(client, "größe", model="colour", version=1, output_format=kind, size="16x16")
    assert told["output_format"] == kind
    assert decode(b64decode(told["data"][0]["b64_json"])).shape == (16, 16, 3)


async def test_compression_is_the_quality_of_the_encoder(client: httpx.AsyncClient) -> None:
    sizes = [
        len((await ask(client, seed=7, output_format="jpeg", output_compression=each))["data"][0]
            ["b64_json"])
        for each in (0, 100)
    ]  # fmt: skip
    assert sizes[0] < sizes[1]
    assert await ask(client, output_compression=100)  # png, as it is


async def test_what_asks_for_nothing_else_is_passed_over(client: httpx.AsyncClient) -> None:
    plain = await ask(client, seed=7)
    ignored: dict[str, Any] = {
        "quality": "hd", "style": "vivid", "user": "somebody", "moderation": "low",
        "background": "opaque", "size": "auto", "response_format": "b64_json", "stream": False,
        "partial_images": 0, "n": None, "model": "tiny",
    }  # fmt: skip
    for name, value in ignored.items():
        assert (await ask(client, seed=7, **{name: value}))["data"] == plain["data"], name


async def test_a_scalar_of_the_model_and_a_version_are_extensions(
    client: httpx.AsyncClient,
) -> None:
    [flat] = (await ask(client, seed=7, truncation=0.0))["data"]
    [other] = (await ask(client, seed=8, truncation=0.0))["data"]
    assert flat["b64_json"] == other["b64_json"]
    wish = {"model": "colour", "seed": 7}
    old, new = [await ask(client, "0", version=each, **wish) for each in (1, 2)]
    assert old["data"] != new["data"]


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"prompt": "squre"}, "prompt", "no class 'squre'; did you mean 'square'?"),
        ({"prompt": "3"}, "prompt", "an index must be in 0 to 2"),
        ({"prompt": ""}, "prompt", "at least 1 char"),
        ({"prompt": None}, "prompt", "must be a text"),
        ({"n": 65}, "n", "at most 64"),
        ({"n": 0}, "n", "at least 1"),
        ({"size": "1024x1024"}, "size", "8 x 8 pixels"),
        ({"size": "large"}, "size", "match"),
        ({"response_format": "url"}, "response_format", "say b64_json"),
        ({"background": "transparent"}, "background", "say opaque"),
        ({"stream": True}, "stream", "leave it out"),
        ({"partial_images": 2}, "partial_images", "leave it out"),
        ({"output_compression": 50}, "output_compression", "for jpeg and webp"),
        ({"output_format": "gif"}, "output_format", "must be"),
        ({"sead": 7}, "sead", "did you mean 'seed'?"),
        ({"latents": [[0.0]]}, "latents", "no such field"),
        ({"num_images": 2}, "num_images", "no such field"),
        ({"truncation": 2.0}, "truncation", "[0, 1]"),
        ({"truncation": "much"}, "truncation", "[0, 1]"),
    ],
)
async def test_what_does_not_fit_is_named(
    client: httpx.AsyncClient, body: dict[str, Any], param: str, said: str
) -> None:
    error = await refused(client, **body)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["code"] == "invalid_value"
    assert said in error["message"]


async def test_models_that_do_not_exist_and_pages_that_do_not(client: httpx.AsyncClient) -> None:
    error = await refused(client, 404, model="dall-e-3")
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert "no model 'dall-e-3'" in error["message"]
    assert (await refused(client, 404, version=9))["code"] == "model_not_found"
    for method, path, code in (
        ("GET", "/v1/models/none", "model_not_found"),
        ("POST", "/v1/chat/completions", "unknown_url"),
        ("GET", URL, "method_not_allowed"),
    ):
        reply = await client.request(method, path)
        assert reply.json()["error"]["code"] == code
        assert reply.headers["x-request-id"]
    assert (await client.get("/v1")).json()["error"]["code"] == "unknown_url"
    assert (await client.get("/v1x")).headers["content-type"] == "application/problem+json"


async def test_bodies_that_are_no_json(client: httpx.AsyncClient) -> None:
    kinds = {"Content-Type": "application/json"}
    reply = await client.post(URL, content=b"{", headers=kinds)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "malformed_request")
    reply = await client.post(URL, content=b"{}", headers={"Content-Type": "text/plain"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_media")


@pytest.fixture(scope="module")
async def others(
    tmp_path_factory: pytest.TempPathFactory, serve: Serve
) -> AsyncIterator[httpx.AsyncClient]:
    """A service with models without classes, of free size, and that only translate."""
    folder: Path = tmp_path_factory.mktemp("others")
    free = FreeSize(min_side=4, max_side=64, max_pixels=4096, stride=4, warm=((8, 8),))
    picture_bundle(folder, name="free", tasks=("generate",), size=free, classes=("a", "b"))
    picture_bundle(folder, name="plain", tasks=("generate",))
    picture_bundle(folder, name="translator")
    config = ServiceConfig(models=(folder,), watch_s=0, max_batch_rows=1, lanes=1)
    async with serve(create_app(config)) as client:
        yield client


async def test_a_free_size_is_width_by_height(others: httpx.AsyncClient) -> None:
    told = await ask(others, "b", model="free", size="16x8")
    assert told["size"] == "16x8"
    assert decode(b64decode(told["data"][0]["b64_json"])).shape[:2] == (8, 16)
    error = await refused(others, prompt="b", model="free", size="6x8")
    assert (error["param"], "multiples of 4" in error["message"]) == ("size", True)


async def test_models_that_take_no_prompt(others: httpx.AsyncClient) -> None:
    error = await refused(others, model="plain")
    assert (error["param"], "no classes" in error["message"]) == ("prompt", True)
    assert "does not generate" in (await refused(others, model="translator"))["message"]
    listed = (await others.get("/v1/models")).json()
    assert [(each["id"], each["classes"]) for each in listed["data"]] == [("free", ["a", "b"])]
    assert (await others.get("/v1/models/plain")).status_code == 404


async def test_models_are_listed(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [each["id"] for each in listed["data"]] == ["colour", "tiny"]
    shown = (await client.get("/v1/models/tiny")).json()
    assert shown == listed["data"][1]
    assert shown == {
        "id": "tiny",
        "object": "model",
        "created": 1767225600,
        "owned_by": "ganymede",
        "classes": ["circle", "square", "star"],
    }


async def test_refusals_for_want_of_time_or_room(config: ServiceConfig, serve: Serve) -> None:
    narrow = config.model_copy(update={"queue_images": 1, "max_images": 1})
    app = create_app(narrow)
    async with serve(app) as client:
        async with Hold(app.state.repository.get("tiny")):
            reply = await client.post(
                URL, json={"prompt": "star"}, headers={"X-Request-Timeout": "0.001"}
            )
        error = reply.json()["error"]
        assert reply.status_code in (429, 504)
        assert error["type"] == ("rate_limit_error" if reply.status_code == 429 else "server_error")
        assert int(reply.headers["retry-after"]) >= 1


async def test_a_large_reply_is_whole(client: httpx.AsyncClient) -> None:
    told = await ask(client, n=64, seed=0)
    pictures = {each["b64_json"] for each in told["data"]}
    assert len(pictures) == 64
    assert np.all([each["seed"] == k for k, each in enumerate(told["data"])])
