"""A picture in the style of another: read by the encode graph, in the place of what is drawn."""

from __future__ import annotations

import asyncio
import io
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from export.bundle import write_manifest
from export.draw import draw
from export.manifest import FreeSize, Latent, Manifest, Noise, Task
from service import model as model_module
from service.app import create_app
from service.config import ServiceConfig
from service.images import Pixels
from service.model import Answer, Model
from service.rows import Rows
from tests.service.conftest import Serve, serving
from tests.service.held import settle
from tests.service.pictures import decode, load
from tests.service.test_translate import file, noise
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio

TASKS: tuple[Task, ...] = ("encode", "translate")
FREE = FreeSize(min_side=6, max_side=40, max_pixels=1200, stride=4, warm=((8, 8),))
SOURCE, OTHER = file(noise(salt=1) // 4 + 90), file(noise(9, 13, salt=2) // 2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that read styles, and for each thing that one may lack another that does not."""
    folder = tmp_path_factory.mktemp("models")
    picture_bundle(folder / "few", name="styled", tasks=TASKS, style=True)
    picture_bundle(folder / "few", name="grained", tasks=TASKS, style=True, grain=True, size=FREE)
    folder = folder / "others"
    picture_bundle(folder, name="classes", tasks=TASKS, style=True, classes=("dark", "light"))
    picture_bundle(folder, name="blind", style=True)
    picture_bundle(folder, name="plain", tasks=TASKS)
    picture_bundle(folder, name="reader", tasks=("encode",))
    other_classes = picture_bundle(folder, name="foreign", tasks=TASKS, style=True, classes=("a",))
    described = other_classes.manifest.model_dump(mode="json")
    for entry in described["graphs"]["encode"]["inputs"]:
        if entry["role"] == "label":
            entry["classes"] = ["b"]
    write_manifest(other_classes.path, Manifest.model_validate(described))
    return folder.parent


@pytest.fixture(scope="module")
def config(models: Path) -> ServiceConfig:
    """Of those that read styles."""
    return ServiceConfig(models=(models / "few",), default_model="styled", watch_s=0, cache_bytes=0)


@pytest.fixture(scope="module")
async def client(models: Path, config: ServiceConfig) -> AsyncIterator[httpx.AsyncClient]:
    folders = {"models": (models / "few", models / "others")}
    async with serving(create_app(config.model_copy(update=folders))) as client:
        yield client


async def send(
    client: httpx.AsyncClient,
    reference: bytes = OTHER,
    accept: str = "application/x-npy",
    **fields: Any,  # noqa: ANN401
) -> httpx.Response:
    files = {"image": ("a.png", SOURCE), "reference": ("b.png", reference)}
    texts = {name: str(value) for name, value in ({"strength": 0} | fields).items()}
    headers = {"Accept": accept}
    return await client.post("/translate", files=files, data=texts, headers=headers)


async def made(client: httpx.AsyncClient, reference: bytes = OTHER, **fields: Any) -> Pixels:  # noqa: ANN401
    reply = await send(client, reference, **fields)
    assert reply.status_code == 200, reply.text
    return load(reply.content)


async def refused(reply: httpx.Response, status: int = 422) -> str:
    assert reply.status_code == status, reply.text
    detail: str = reply.json()["detail"]
    return detail


async def told(client: httpx.AsyncClient, reference: bytes, **fields: Any) -> np.ndarray:  # noqa: ANN401
    """What /encode says of it."""
    body = {"image": b64encode(reference).decode(), **fields}
    reply = await client.post("/encode", json=body, headers={"Accept": "application/x-npy"})
    assert reply.status_code == 200, reply.text
    return np.asarray(np.load(io.BytesIO(reply.content), allow_pickle=False))


def shown(unit: np.ndarray) -> np.ndarray:
    """A picture in [-1, 1] as the graph sends it."""
    return np.clip(np.round(unit * 127.5 + 127.5), 0, 255)


# --- What it is. ---


async def test_the_style_is_what_the_encode_graph_says(client: httpx.AsyncClient) -> None:
    source = decode(SOURCE) / 127.5 - 1
    for reference in (OTHER, SOURCE):
        style = await told(client, reference)
        [found] = await made(client, reference)
        assert np.abs(found - shown(source + style)).max() <= 1
    assert np.ptp(await told(client, OTHER) - await told(client, SOURCE)) > 0.01


async def test_without_one_the_style_is_drawn(client: httpx.AsyncClient) -> None:
    body = {"image": b64encode(SOURCE).decode(), "strength": 0, "seed": 5}
    reply = await client.post("/translate", json=body, headers={"Accept": "application/x-npy"})
    [style] = draw(Latent(name="style", shape=(3,)), [5], 8, 8)
    expected = shown(decode(SOURCE) / 127.5 - 1 + style)
    assert np.abs(load(reply.content)[0] - expected).max() <= 1


async def test_other_draws_still_differ(client: httpx.AsyncClient) -> None:
    many = await made(client, model="grained", seed=7, num_images=3)
    style = await told(client, OTHER, model="grained")
    grain = draw(Noise(name="grain", shape=(3, "height", "width")), [7, 8, 9], 8, 8)
    expected = shown(decode(SOURCE) / 127.5 - 1 + style + grain.transpose(0, 2, 3, 1))
    assert np.abs(many - expected).max() <= 1
    [alone] = await made(client, model="grained", seed=8)
    assert np.array_equal(alone, many[1])


async def test_where_nothing_else_is_drawn_one_picture_is_all_there_is(
    client: httpx.AsyncClient,
) -> None:
    assert "would be the same" in await refused(await send(client, num_images=2))
    reply = await send(client)
    assert reply.headers["cache-control"] == "no-cache"  # no seed was drawn
    known = {"If-None-Match": reply.headers["etag"], "Accept": "application/x-npy"}
    for reference, status in ((OTHER, 304), (SOURCE, 200)):
        files = {"image": SOURCE, "reference": reference}
        again = await client.post("/translate", files=files, data={"strength": "0"}, headers=known)
        assert again.status_code == status


async def test_an_encoder_of_classes_is_told_the_class_of_each_picture(
    client: httpx.AsyncClient,
) -> None:
    body = {"model": "classes", "strength": 0, "image": b64encode(SOURCE).decode()}
    body |= {"reference": b64encode(OTHER).decode(), "label": ["light", "dark", "light"]}
    reply = await client.post("/translate", json=body, headers={"Accept": "application/x-npy"})
    found = load(reply.content)
    for picture, label, light in zip(found, ("light", "dark", "light"), (1, 0, 1), strict=True):
        style = await told(client, OTHER, model="classes", label=label)
        expected = shown(decode(SOURCE) / 127.5 - 1 + style + light)
        assert np.abs(picture - expected).max() <= 1
    drawn = await send(client, accept="application/json", model="classes", seed=1, num_images=6)
    assert {image["label"] for image in drawn.json()["images"]} == {"dark", "light"}


@pytest.mark.parametrize("size", [(6, 6), (9, 22), (8, 40)])
async def test_a_reference_has_a_size_of_its_own(
    client: httpx.AsyncClient, size: tuple[int, int]
) -> None:
    reference = file(noise(*size, salt=5) // 3)
    style = await told(client, reference, model="grained")
    grain = draw(Noise(name="grain", shape=(3, "height", "width")), [1], 8, 8)[0]
    [found] = await made(client, reference, model="grained", seed=1)
    expected = shown(decode(SOURCE) / 127.5 - 1 + style + grain.transpose(1, 2, 0))
    assert np.abs(found - expected).max() <= 1


# --- How it is sent, and refused. ---


async def test_the_ways_to_send_it_are_one(client: httpx.AsyncClient) -> None:
    text, other = b64encode(SOURCE).decode(), b64encode(OTHER).decode()
    replies = [
        await send(client, accept="application/json"),
        await client.post("/translate", json={"image": text, "reference": other, "strength": 0}),
        await client.post(
            "/translate",
            files={"file": SOURCE},
            data={"reference": OTHER, "strength": "0"},  # a part without a file name
        ),
    ]
    assert [reply.status_code for reply in replies] == [200] * 3
    assert len({reply.headers["etag"] for reply in replies}) == 1
    assert len({str(reply.json()["images"]) for reply in replies}) == 1


async def test_a_body_that_is_the_picture_has_no_place_for_it(client: httpx.AsyncClient) -> None:
    url, headers = "/translate?reference=77", {"Content-Type": "image/png"}
    detail = await refused(await client.post(url, content=SOURCE, headers=headers))
    assert detail.startswith("reference: the body has one picture: send both as multipart")


async def test_what_is_wrong_with_it_is_said_of_it(
    client: httpx.AsyncClient, config: ServiceConfig, serve: Serve
) -> None:
    assert "reference: this is no picture" in await refused(await send(client, b"a text"), 415)
    for wrong, why in (
        (b"", "is empty"), (OTHER[:-40], "is broken"), (file(noise(1, 60)), "is 1 x 60 pixels"),
    ):  # fmt: skip
        detail = await refused(await send(client, wrong))
        assert detail.startswith(f"reference: {why}")
    large = await refused(await send(client, file(noise(8, 64)), model="grained"))
    assert large.startswith("reference: is 8 x 64 pixels (height x width), and this model takes")
    body = {"image": b64encode(SOURCE).decode(), "reference": "no%base64"}
    assert "reference: is not base64" in await refused(await client.post("/translate", json=body))
    twice = [("image", SOURCE), ("reference", OTHER), ("reference", OTHER)]
    detail = await refused(await client.post("/translate", files=twice))
    assert detail == "reference: 2 files were sent: send one"
    alone = await client.post("/translate", files={"reference": OTHER})
    assert "image: is missing" in await refused(alone)
    async with serve(create_app(config.model_copy(update={"max_upload_pixels": 100}))) as limited:
        detail = await refused(await send(limited), 413)
    assert detail == "reference: it has 9 x 13 pixels, and the limit is 100: send a smaller one"


async def test_it_is_for_translate_alone(client: httpx.AsyncClient) -> None:
    body = {"image": b64encode(SOURCE).decode(), "reference": b64encode(OTHER).decode()}
    detail = await refused(await client.post("/encode", json=body))
    assert "reference: there is no such field here" in detail
    both = {"image": SOURCE, "reference": OTHER}
    assert "2 files were sent" in await refused(await client.post("/encode", files=both))


async def test_latents_beside_it_are_refused(client: httpx.AsyncClient) -> None:
    body = {"image": b64encode(SOURCE).decode(), "reference": b64encode(OTHER).decode()}
    reply = await client.post("/translate", json=body | {"latents": [[0, 0, 0]]})
    assert "latents: there is no such field here" in await refused(reply)


@pytest.mark.parametrize(
    ("model", "lacks"),
    [
        ("blind", "This model has no encode graph"),
        ("plain", "the one tells vector [3], the other has none"),
        ("foreign", "encode graph asks for more, or has classes of its own"),
    ],
)
async def test_a_model_that_reads_no_style_says_what_it_lacks(
    client: httpx.AsyncClient, model: str, lacks: str
) -> None:
    detail = await refused(await send(client, b"never looked at", model=model))
    assert detail.startswith("reference: leave it out: a style is read where the encode graph")
    assert lacks in detail
    detail = await refused(await send(client, model="reader"))
    assert "does not translate" in detail


async def test_cards_tell_who_takes_one(client: httpx.AsyncClient) -> None:
    cards = (await client.get("/models")).json()["models"]
    takers = {card["name"]: card["reference"] for card in cards if card["reference"]}
    assert takers == {name: ["style"] for name in ("classes", "grained", "styled")}
    shown = (await client.get("/models/styled")).json()
    assert shown["reference"] == ["style"]
    assert shown["scalars"].keys() == {"strength"}  # of the translator, not of the encoder


# --- Two inferences, one request. ---


async def test_another_reference_is_another_reply_and_the_same_is_kept(
    config: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    infer = Model.infer

    async def noted(model: Model, task: Any, rows: Rows, **how: Any) -> Answer:  # noqa: ANN401
        asked.append(task)
        return await infer(model, task, rows, **how)

    monkeypatch.setattr(Model, "infer", noted)
    cached = config.model_copy(update={"cache_bytes": 2**20})
    async with serve(create_app(cached)) as client:
        together = await asyncio.gather(*(made(client) for _ in range(3)))
        assert asked == ["encode", "translate"]
        again, other = await made(client), await made(client, SOURCE)
    assert asked == ["encode", "translate"] * 2
    assert all(np.array_equal(each, again) for each in together)
    assert not np.array_equal(again, other)


@pytest.mark.parametrize("accept", ["application/json", "multipart/mixed"])
async def test_deadline_and_priority_are_those_of_both(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    asked: list[tuple[str, str]] = []
    left_s: list[float] = []
    infer = Model.infer

    async def noted(model: Model, task: Any, rows: Rows, **how: Any) -> Answer:  # noqa: ANN401
        asked.append((task, how["priority"]))
        left_s.append(how["timeout_s"])
        answer = await infer(model, task, rows, **how)
        return Answer(answer.rows, 1.0, 2.0)

    monkeypatch.setattr(Model, "infer", noted)
    reply = await send(client, accept=accept, priority="bulk", timeout_s=25)
    assert reply.status_code == 200
    assert asked == [("encode", "bulk"), ("translate", "bulk")]
    assert 25 > left_s[0] > left_s[1] > 0
    if accept == "application/json":
        timing = reply.json()["timing"]
        assert (timing["queue_s"], timing["run_s"]) == (2.0, 4.0)
    late = await send(client, accept=accept, timeout_s=1e-9)
    assert late.status_code == 504
    assert len(asked) == 2  # no style was read for it


async def test_who_goes_away_while_the_style_is_read_gets_no_pictures(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    withdrawn = asyncio.Event()

    async def never(model: Model, task: str, *_: object, **__: object) -> None:
        asked.append(task)
        try:
            await asyncio.Event().wait()
        finally:
            withdrawn.set()

    monkeypatch.setattr(Model, "infer", never)
    request = asyncio.create_task(send(client))
    await settle()
    assert asked == ["encode"]
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert withdrawn.is_set()
    assert asked == ["encode"]


async def test_a_style_that_is_not_finite_is_the_models_fault(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def infer(*_: object, **__: object) -> Answer:
        return Answer(Rows({"style": np.full((1, 3), np.nan, np.float32)}), 0, 0)

    monkeypatch.setattr(Model, "infer", infer)
    assert "style is not finite" in await refused(await send(client), 500)


async def test_two_large_pictures_of_a_request_have_room_together(
    config: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "SMALL_PIXELS", 0)
    limited = config.model_copy(update={"max_upload_pixels": 117})  # as many as OTHER has
    async with serve(create_app(limited)) as client:
        several = (send(client, model="grained", seed=seed) for seed in range(5))
        replies = await asyncio.wait_for(asyncio.gather(*several), 30)
    assert {reply.status_code for reply in replies} == {200}


async def test_a_request_counts_once(config: ServiceConfig, serve: Serve) -> None:
    async with serve(create_app(config)) as client:
        await made(client, model="grained", num_images=3)
        lines = (await client.get("/metrics")).text.splitlines()
    counted = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(counted['ganymede_images_total{model="grained"}']) == 3
    series = 'ganymede_requests_total{model="grained",route="/translate",status="200"}'
    assert float(counted[series]) == 1
