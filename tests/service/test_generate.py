"""Pictures over HTTP: every container, every knob, and what caches are told."""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from base64 import b64decode
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pytest

from export.draw import SEED_LIMIT
from service import generate as generate_module
from service import making
from service.app import create_app
from service.config import ServiceConfig
from service.errors import QueueFull
from service.images import Pixels, grid
from service.making import Progress
from service.metrics import Metrics
from service.model import Model
from service.negotiation import Form
from service.replies import Rendered, render
from service.schemas import GenerateRequest
from tests.service.conftest import Serve
from tests.service.held import Clock
from tests.service.pictures import decode, load
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.anyio


async def post(client: httpx.AsyncClient, accept: str = "*/*", **body: object) -> httpx.Response:
    return await client.post("/generate", json=body, headers={"Accept": accept})


async def pixels_of(client: httpx.AsyncClient, **body: object) -> Pixels:
    """uint8 [N, H, W, C], by the shortest way."""
    reply = await post(client, "application/x-npy", **body)
    assert reply.status_code == 200, reply.text
    return load(reply.content)


# --- Urgency. ---


class Asked:
    """What the model was asked, and a stand-in that then fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[tuple[float, str]] = []
        monkeypatch.setattr(Model, "infer", self.infer)

    async def infer(
        self, task: str, rows: object, *, timeout_s: float, priority: str, ready: object
    ) -> None:
        self.said.append((timeout_s, priority))
        raise QueueFull("later", retry_after_s=1)


@pytest.mark.parametrize(
    ("body", "header", "timeout_s"),
    [
        ({}, None, 30),
        ({"timeout_s": 2.5}, None, 2.5),
        ({}, "7", 7),
        ({"timeout_s": 2.5}, "7", 2.5),
        ({"timeout_s": 9}, "7", 7),
        ({"timeout_s": 1e9}, None, 300),
        ({}, "1e999", 300),
    ],
)
async def test_a_request_sets_its_deadline_within_the_servers_and_the_shorter_counts(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    body: dict[str, float],
    header: str | None,
    timeout_s: float,
) -> None:
    asked = Asked(monkeypatch)
    headers = {"X-Request-Timeout": header} if header else {}
    assert (await client.post("/generate", json=body, headers=headers)).status_code == 429
    assert (await client.get("/generate/tiny.png", headers=headers)).status_code == 429
    [(left_s, priority), _] = asked.said
    assert (left_s <= timeout_s, round(left_s, 1), priority) == (True, timeout_s, "interactive")


async def test_a_body_is_not_kept_until_the_answer(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    class Watched(bytes):
        def __new__(cls, content: bytes) -> Watched:
            kept.append(len(content))
            return super().__new__(cls, content)

        def __del__(self) -> None:
            kept.clear()

    async def body_of(_: object) -> bytes:
        return Watched(b'{"seed": 7}')

    async def infer(*_: object, **__: object) -> None:
        raise QueueFull(f"{len(kept)} kept", retry_after_s=1)

    monkeypatch.setattr("service.routes.pictures.body_of", body_of)
    monkeypatch.setattr(Model, "infer", infer)
    assert (await post(client)).json()["detail"] == "0 kept"


async def test_a_request_sets_its_priority(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(monkeypatch)
    await post(client, priority="bulk")
    await post(client, priority="interactive")
    assert [priority for _, priority in asked.said] == ["bulk", "interactive"]


async def test_urgency_changes_no_picture_and_no_tag(client: httpx.AsyncClient) -> None:
    plain = await post(client, "image/png", seed=7)
    urgent = await post(client, "image/png", seed=7, timeout_s=20, priority="bulk")
    assert (urgent.content, urgent.headers["etag"]) == (plain.content, plain.headers["etag"])


async def test_a_timeout_header_that_says_nothing_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.get("/generate/tiny.png", headers={"X-Request-Timeout": "soon"})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"] == "X-Request-Timeout"


# --- Containers. ---


async def test_json_tells_each_image_its_seed_and_label(client: httpx.AsyncClient) -> None:
    reply = await post(client, seed=7, num_images=3, label=["star", 0, "circle"], truncation=0.5)
    document = reply.json()
    assert reply.headers["content-type"] == "application/json"
    assert {key: document[key] for key in ("model", "version", "seed", "format")} == {
        "model": "tiny",
        "version": 1,
        "seed": 7,
        "format": "png",
    }
    assert (document["height"], document["width"], document["channels"]) == (8, 8, 1)
    assert document["parameters"] == {"truncation": 0.5}
    assert [image["seed"] for image in document["images"]] == [7, 8, 9]
    assert [image["label"] for image in document["images"]] == ["star", "circle", "circle"]
    assert set(document["timing"]) == {"queue_s", "run_s", "encode_s", "cached"}
    assert document["timing"]["cached"] is False
    expected = await pixels_of(
        client, seed=7, num_images=3, label=["star", 0, "circle"], truncation=0.5
    )
    for image, pixels in zip(document["images"], expected, strict=True):
        assert np.array_equal(decode(b64decode(image["data"])), pixels)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "npy"])
async def test_json_carries_every_format(client: httpx.AsyncClient, form: str) -> None:
    document = (await post(client, seed=1, model="colour", format=form)).json()
    file = b64decode(document["images"][0]["data"])
    pixels = load(file) if form == "npy" else decode(file)
    assert document["format"] == form
    assert pixels.shape[:2] == (8, 8)


async def test_one_image_is_sent_bare(client: httpx.AsyncClient) -> None:
    reply = await post(client, "image/png", seed=7)
    assert reply.headers["content-type"] == "image/png"
    assert np.array_equal(decode(reply.content), (await pixels_of(client, seed=7))[0])


async def test_several_images_become_a_grid(client: httpx.AsyncClient) -> None:
    reply = await post(client, "image/*", seed=7, num_images=5)
    expected = grid(await pixels_of(client, seed=7, num_images=5))
    assert np.array_equal(decode(reply.content), expected)
    assert reply.headers["ganymede-seeds"] == "7, 8, 9, 10, 11"


async def test_a_bare_reply_tells_its_facts_in_headers(client: httpx.AsyncClient) -> None:
    reply = await post(client, "image/webp", model="colour", seed=3, label="größe", num_images=2)
    assert reply.headers["ganymede-model"] == "colour"
    assert reply.headers["ganymede-version"] == "2"
    assert reply.headers["ganymede-seed"] == "3"
    assert unquote(reply.headers["ganymede-labels"]) == "größe, größe"
    assert re.fullmatch(
        r"decode;dur=\d+\.\d+, queue;dur=\d+\.\d+, run;dur=\d+\.\d+, encode;dur=\d+\.\d+",
        reply.headers["server-timing"],
    )


async def test_zip_names_its_files_and_lists_them(client: httpx.AsyncClient) -> None:
    reply = await post(client, "application/zip", seed=7, num_images=3, label="star")
    archive = zipfile.ZipFile(io.BytesIO(reply.content))
    index = json.loads(archive.read("index.json"))
    assert archive.testzip() is None
    assert {entry.date_time[0] for entry in archive.infolist()} == {1980}  # the same bytes always
    assert [image["seed"] for image in index["images"]] == [7, 8, 9]
    assert archive.namelist() == ["index.json", *(image["file"] for image in index["images"])]
    expected = await pixels_of(client, seed=7, num_images=3, label="star")
    for image, pixels in zip(index["images"], expected, strict=True):
        assert np.array_equal(decode(archive.read(image["file"])), pixels)


async def test_npy_is_one_array_of_all_images(client: httpx.AsyncClient) -> None:
    pixels = await pixels_of(client, model="colour", version=1, seed=7, num_images=4)
    assert pixels.shape == (4, 16, 16, 3)
    assert pixels.dtype == np.uint8


async def test_multipart_is_read_by_any_mime_parser(client: httpx.AsyncClient) -> None:
    reply = await post(client, "multipart/mixed", seed=7, num_images=2)
    head = f"Content-Type: {reply.headers['content-type']}\r\n\r\n".encode()
    parsed = message_from_bytes(head + reply.content, policy=policy.HTTP)
    index, *files = parsed.iter_parts()
    listed = json.loads(index.get_content())["images"]
    assert [file.get_filename() for file in files] == [image["file"] for image in listed]
    expected = await pixels_of(client, seed=7, num_images=2)
    for file, pixels in zip(files, expected, strict=True):
        assert file.get_content_type() == "image/png"
        assert np.array_equal(decode(file.get_content()), pixels)


@pytest.mark.parametrize(
    "accept", ["image/png", "image/webp", "application/zip", "application/x-npy", "multipart/mixed"]
)
async def test_a_reply_is_the_same_bytes_again(client: httpx.AsyncClient, accept: str) -> None:
    body = {"seed": 11, "num_images": 3}
    first, second = [await post(client, accept, **body) for _ in range(2)]
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]


async def test_quality_reaches_the_encoder(client: httpx.AsyncClient) -> None:
    small, large = [
        await post(client, "image/jpeg", model="colour", seed=1, quality=quality, num_images=16)
        for quality in (10, 95)
    ]
    assert len(small.content) < len(large.content)


@pytest.mark.parametrize(
    ("body", "inline"),
    [
        ({"num_images": 1}, True),
        ({"num_images": 64}, True),
        ({"num_images": 1, "format": "webp"}, True),
        ({"num_images": 64, "format": "webp"}, False),
    ],
)
async def test_long_encoding_leaves_the_event_loop_free(
    client: httpx.AsyncClient, body: dict[str, Any], inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def noted(*asked: Any) -> Rendered:  # noqa: ANN401
        threads.append(threading.get_ident())
        return render(*asked)

    monkeypatch.setattr("service.making.render", noted)
    assert (await post(client, seed=1, **body)).status_code == 200
    assert (threads == [threading.get_ident()]) is inline


async def test_labels_are_escaped_as_json_asks(
    config: ServiceConfig, serve: Serve, tmp_path: Path
) -> None:
    classes = ('say "hi"', "back\\slash", "new\nline", "größe 🐘", "\u2028\x00")
    tiny_bundle(tmp_path, classes=classes)
    alone = config.model_copy(update={"models": (tmp_path,)})
    async with serve(create_app(alone)) as other:
        reply = await post(other, seed=1, label=list(range(len(classes))), num_images=len(classes))
    assert [image["label"] for image in json.loads(reply.content)["images"]] == list(classes)


# --- What is asked for. ---


async def test_latents_are_taken_as_given(client: httpx.AsyncClient) -> None:
    black_box: dict[str, Any] = {"label": "star", "latents": [[0.0] * 8, [1.0] * 8]}
    document = (await post(client, **black_box)).json()
    assert [image["seed"] for image in document["images"]] == [None, None]
    first, second = await pixels_of(client, **black_box)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, (await pixels_of(client, label="star", truncation=0, seed=1))[0])


async def test_interpolation_begins_and_ends_at_its_seeds(client: httpx.AsyncClient) -> None:
    between = {"from": 5, "to": 99, "steps": 4}
    pixels = await pixels_of(client, interpolate=between, label="star")
    assert len(pixels) == 4
    assert np.array_equal(pixels[0], (await pixels_of(client, seed=5, label="star"))[0])
    assert np.array_equal(pixels[-1], (await pixels_of(client, seed=99, label="star"))[0])


async def test_a_version_may_be_pinned(client: httpx.AsyncClient) -> None:
    old, new = [await post(client, model="colour", seed=1, version=v) for v in (1, 2)]
    assert (old.json()["version"], new.json()["version"]) == (1, 2)
    assert old.json()["height"] == 16
    assert (await post(client, model="colour", seed=1)).json()["version"] == 2


async def test_without_a_seed_one_is_drawn_and_told(client: httpx.AsyncClient) -> None:
    first, second = [await post(client, num_images=2) for _ in range(2)]
    seed = first.json()["seed"]
    assert 0 <= seed < SEED_LIMIT
    assert seed != second.json()["seed"]
    assert first.headers["cache-control"] == "no-store"
    assert "etag" not in first.headers
    again = await post(client, seed=seed, num_images=2)
    assert again.json()["images"] == first.json()["images"]


async def test_seeds_wrap_around(client: httpx.AsyncClient) -> None:
    document = (await post(client, seed=SEED_LIMIT - 1, num_images=2)).json()
    assert [image["seed"] for image in document["images"]] == [SEED_LIMIT - 1, 0]


# --- The plain URL. ---


@pytest.mark.parametrize(
    ("extension", "kind"),
    [("png", "png"), ("jpg", "jpeg"), ("jpeg", "jpeg"), ("webp", "webp"), ("PNG", "png")],
)
async def test_a_plain_url_is_the_same_picture(
    client: httpx.AsyncClient, extension: str, kind: str
) -> None:
    query = "seed=7&label=star&truncation=0.5&num_images=2"
    reply = await client.get(f"/generate/tiny.{extension}?{query}")
    body = {"seed": 7, "label": "star", "truncation": 0.5, "num_images": 2}
    posted = await post(client, f"image/{kind}", model="tiny", **body)
    assert reply.headers["content-type"] == f"image/{kind}"
    assert reply.content == posted.content


async def test_a_plain_url_takes_several_labels(client: httpx.AsyncClient) -> None:
    reply = await client.get("/generate/tiny.png?seed=7&label=star&label=1")
    assert reply.headers["ganymede-labels"] == "star, square"


@pytest.mark.parametrize(
    ("query", "cache_control"),
    [
        ("seed=7", "public, max-age=60"),
        ("seed=7&version=1", "public, max-age=31536000, immutable"),
        ("", "no-store"),
        ("version=1", "no-store"),
    ],
)
async def test_caches_are_told_how_long(
    client: httpx.AsyncClient, query: str, cache_control: str
) -> None:
    reply = await client.get(f"/generate/tiny.png?{query}")
    assert reply.headers["cache-control"] == cache_control
    assert ("etag" in reply.headers) == ("seed" in query)
    assert "vary" not in reply.headers


async def runs(client: httpx.AsyncClient) -> float:
    """How many rows were inferred so far."""
    text = (await client.get("/metrics")).text
    return sum(float(n) for n in re.findall(r"^ganymede_batch_rows_sum\{.*\} (.*)$", text, re.M))


async def test_a_known_tag_is_answered_without_inference(client: httpx.AsyncClient) -> None:
    url = "/generate/tiny.png?seed=123456"
    etag = (await client.get(url)).headers["etag"]
    before = await runs(client)
    for known in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
        reply = await client.get(url, headers={"If-None-Match": known})
        assert (reply.status_code, reply.content) == (304, b"")
        assert reply.headers["etag"] == etag
        assert reply.headers["cache-control"] == "public, max-age=60"
    assert await runs(client) == before
    other = await client.get(url, headers={"If-None-Match": '"other"'})
    assert other.status_code == 200
    assert await runs(client) == before + 1


async def test_a_post_with_a_seed_is_revalidated_too(client: httpx.AsyncClient) -> None:
    etag = (await post(client, seed=77)).headers["etag"]
    before = await runs(client)
    headers = {"If-None-Match": etag}
    assert (await client.post("/generate", json={"seed": 77}, headers=headers)).status_code == 304
    assert await runs(client) == before
    assert (await client.post("/generate", json={"seed": 78}, headers=headers)).status_code == 200
    assert (await client.post("/generate", json={}, headers={"If-None-Match": "*"})).is_success


async def test_the_phases_are_the_whole_of_a_request(
    config: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    progress = Progress(start=clock())
    clock.now += 7  # the body arrives, is read, and its form is chosen

    def rendered(*args: Any) -> Rendered:  # noqa: ANN401
        clock.now += 50
        return render(*args)

    monkeypatch.setattr(generate_module, "perf_counter", clock)
    monkeypatch.setattr(making, "perf_counter", clock)
    monkeypatch.setattr(making, "render", rendered)
    app = create_app(config)
    async with serve(app):
        model, asked = app.state.repository.get("tiny"), GenerateRequest(num_images=2)
        conditions = generate_module.Conditions(Form("zip", "png"))
        cache = generate_module.reply_cache(config, Metrics())
        await generate_module.generate(model, asked, conditions, config, progress, cache)
    assert (progress.phases_s["decode"], progress.phases_s["encode"]) == (7, 50)


async def test_head_says_what_get_would_without_inference(client: httpx.AsyncClient) -> None:
    url = "/generate/tiny.png?seed=9"
    got = await client.get(url)
    before = await runs(client)
    reply = await client.head(url)
    assert (reply.status_code, reply.content) == (200, b"")
    for name in ("etag", "cache-control", "content-type", "ganymede-seeds", "ganymede-labels"):
        assert reply.headers[name] == got.headers[name]
    assert "content-length" not in reply.headers
    assert await runs(client) == before


TAG_BODY: dict[str, Any] = {"seed": 5, "model": "colour", "label": 0}


@pytest.mark.parametrize(
    ("accept", "change"),
    [
        ("image/webp", {}),
        ("application/zip", {}),
        ("image/jpeg", {"quality": 50}),
        ("image/png", {"seed": 6}),
        ("image/png", {"label": 1}),
        ("image/png", {"truncation": 0.5}),
        ("image/png", {"version": 1}),
        ("image/png", {"model": "tiny"}),
        ("image/png", {"num_images": 2}),
    ],
)
async def test_a_tag_changes_with_what_it_names(
    client: httpx.AsyncClient, accept: str, change: dict[str, Any]
) -> None:
    base_accept = "image/jpeg" if "quality" in change else "image/png"
    base = await post(client, base_accept, **TAG_BODY)
    other = await post(client, accept, **TAG_BODY | change)
    assert other.status_code == 200
    assert base.headers["etag"] != other.headers["etag"]
