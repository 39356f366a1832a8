"""Pictures in, pictures out, over HTTP: how they may be sent, sized, seeded and answered."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import zipfile
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from export.draw import draw
from export.manifest import FixedSize, FreeSize, Noise
from service import generate, inputs, making, reading
from service.app import create_app
from service.config import ServiceConfig
from service.errors import QueueFull
from service.generate import Conditions
from service.images import Picture, Pixels, UploadedFile, npy
from service.inputs import Floats, Plan
from service.making import Progress
from service.model import Answer, Model
from service.negotiation import Form
from service.routes import framework
from service.rows import Rows
from service.schemas import ReadRequest
from service.uploads import Upload
from tests.service.conftest import Serve, serving
from tests.service.held import Clock
from tests.service.pictures import decode, load
from tests.tiny import tiny_bundle
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.anyio

FREE = FreeSize(min_side=6, max_side=41, max_pixels=1200, stride=4, warm=((8, 8),))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder, name="tiny")
    picture_bundle(folder, name="invert", version=1)
    picture_bundle(folder, name="invert", version=2, grain=True)
    picture_bundle(folder, name="plain")
    picture_bundle(folder, name="grey", channels=1)
    picture_bundle(folder, name="clear", channels=4)
    picture_bundle(folder, name="wide", size=FixedSize(height=8, width=16))
    picture_bundle(folder, name="grain", grain=True, size=FREE)
    picture_bundle(folder, name="mosaic", tile=4, size=FREE)
    picture_bundle(folder, name="lights", classes=("dark", "light"))
    picture_bundle(folder, name="reader", tasks=("encode", "score", "generate"), size=FREE)
    return folder


@pytest.fixture(scope="module")
def config(models: Path) -> ServiceConfig:
    # No cache, as for the other tests: the same is made again.
    return ServiceConfig(models=(models,), default_model="plain", watch_s=0, cache_bytes=0)


@pytest.fixture(scope="module")
async def client(config: ServiceConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(create_app(config)) as client:
        yield client


def noise(height: int = 8, width: int = 8, channels: int = 3, salt: int = 0) -> Pixels:
    shape = (height, width, channels)
    return np.random.default_rng(salt).integers(0, 256, shape, np.uint8)


def file(pixels: Pixels, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, kind)
    return stream.getvalue()


async def send(
    client: httpx.AsyncClient,
    picture: bytes,
    path: str = "/translate",
    **fields: Any,  # noqa: ANN401
) -> httpx.Response:
    """The picture as JSON."""
    body = {"image": b64encode(picture).decode()} | fields
    return await client.post(path, json=body)


async def translated(
    client: httpx.AsyncClient,
    picture: bytes,
    **fields: Any,  # noqa: ANN401
) -> list[Pixels]:
    reply = await send(client, picture, **fields)
    assert reply.status_code == 200, reply.text
    return [decode(b64decode(image["data"])) for image in reply.json()["images"]]


async def refused(
    client: httpx.AsyncClient,
    picture: bytes,
    status: int = 422,
    **fields: Any,  # noqa: ANN401
) -> str:
    reply = await send(client, picture, **fields)
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    detail: str = reply.json()["detail"]
    return detail


# --- Three ways to send a picture, and every way to be answered. ---


async def test_the_three_ways_to_send_a_picture_are_one(client: httpx.AsyncClient) -> None:
    pixels = noise()
    png = file(pixels)
    fields: dict[str, Any] = {
        "seed": 3,
        "strength": 1.0,
        "model": "invert",
        "version": 1,
        "format": "webp",
    }
    texts = {name: str(value) for name, value in fields.items()}
    headers = {"Content-Type": "image/png"}
    replies = [
        await send(client, png, **fields),
        await client.post("/translate", files={"image": ("a.png", png)}, data=texts),
        await client.post("/translate", files={"file": ("a.png", png)}, data=texts),
        await client.post("/translate", content=png, headers=headers, params=texts),
    ]
    assert [reply.status_code for reply in replies] == [200] * 4
    assert len({reply.headers["etag"] for reply in replies}) == 1
    assert len({json.dumps(reply.json()["images"]) for reply in replies}) == 1
    one = replies[0].json()
    assert (one["model"], one["version"], one["seed"], one["format"]) == ("invert", 1, 3, "webp")
    assert (one["height"], one["width"], one["channels"]) == (8, 8, 3)
    assert one["parameters"] == {"strength": 1.0}


async def test_base64_may_be_a_data_url_or_have_lines(client: httpx.AsyncClient) -> None:
    text = b64encode(file(noise())).decode()
    for image in (text, f"data:image/png;base64,{text}", f"{text[:76]}\r\n{text[76:]}\n"):
        reply = await client.post("/translate", json={"image": image})
        assert reply.status_code == 200
        assert np.array_equal(decode(b64decode(reply.json()["images"][0]["data"])), 255 - noise())


@pytest.mark.parametrize(
    "accept", ["image/png", "application/x-npy", "application/zip", "multipart/mixed"]
)
async def test_every_container_has_the_picture(client: httpx.AsyncClient, accept: str) -> None:
    reply = await client.post(
        "/translate", files={"image": file(noise())}, headers={"Accept": accept}
    )
    assert reply.headers["content-type"].startswith(accept)
    if accept == "application/x-npy":
        found = load(reply.content)[0]
    elif accept == "application/zip":
        archive = zipfile.ZipFile(io.BytesIO(reply.content))
        found = decode(archive.read(archive.namelist()[1]))
    elif accept == "multipart/mixed":
        found = decode(b"\x89PNG" + reply.content.partition(b"\x89PNG")[2])
    else:
        found = decode(reply.content)
    assert np.array_equal(found, 255 - noise())


async def test_quality_and_format_are_checked_as_for_generate(client: httpx.AsyncClient) -> None:
    assert "quality" in await refused(client, file(noise()), quality=50)
    small = await send(client, file(noise()), format="jpeg", quality=5)
    large = await send(client, file(noise()), format="jpeg", quality=100)
    assert len(small.content) < len(large.content)


# --- Seeds. ---


async def test_one_seed_is_one_picture(client: httpx.AsyncClient) -> None:
    png = file(noise(9, 7))
    many = await translated(client, png, model="grain", seed=2**53 - 2, num_images=5)
    for k, seed in enumerate([2**53 - 2, 2**53 - 1, 0, 1, 2]):
        [alone] = await translated(client, png, model="grain", seed=seed)
        assert np.array_equal(alone, many[k])
    assert len({picture.tobytes() for picture in many}) == 5


async def test_the_seed_draws_what_the_manifest_says(client: httpx.AsyncClient) -> None:
    grey = np.full((8, 12, 3), 128, np.uint8)
    [found] = await translated(client, file(grey), model="grain", seed=11, strength=0)
    entry = Noise(name="grain", shape=(3, "height", "width"))
    drawn = draw(entry, [11], 8, 12)[0].transpose(1, 2, 0)
    unit = (grey / 255 * 2 - 1 + drawn) * 127.5 + 127.5
    assert np.abs(found - np.clip(np.round(unit), 0, 255)).max() <= 1


async def test_a_drawn_seed_is_told_and_gives_the_picture_again(client: httpx.AsyncClient) -> None:
    first = await send(client, file(noise()), model="grain")
    assert first.headers["cache-control"] == "no-store"
    again = await send(client, file(noise()), model="grain", seed=first.json()["seed"])
    assert again.json()["images"] == first.json()["images"]


async def test_several_pictures_of_a_model_that_draws_nothing_are_refused(
    client: httpx.AsyncClient,
) -> None:
    detail = await refused(client, file(noise()), num_images=2)
    assert "num_images: nothing that this model starts from is drawn" in detail
    assert "drawn" in await refused(
        client, file(noise()), model="lights", label="dark", num_images=2
    )


async def test_labels_may_differ_where_nothing_else_does(client: httpx.AsyncClient) -> None:
    dark, light = await translated(client, file(noise()), model="lights", label=["dark", 1])
    assert dark.mean() < light.mean()
    reply = await send(client, file(noise()), model="lights", seed=1, num_images=8)
    assert {image["label"] for image in reply.json()["images"]} == {"dark", "light"}


@pytest.mark.parametrize(
    ("label", "name"), [("light", "light"), ("LIGHT", "light"), (0, "dark"), ("1", "light")]
)
async def test_a_class_is_chosen_by_name_or_index_in_each_way_to_send(
    client: httpx.AsyncClient, label: str | int, name: str
) -> None:
    fields: dict[str, Any] = {"model": "lights", "label": label}
    headers = {"Content-Type": "image/png"}
    png = file(noise())
    replies = [
        await send(client, png, **fields),
        await client.post("/translate", files={"image": png}, data=fields),
        await client.post("/translate", content=png, params=fields, headers=headers),
    ]
    assert [reply.status_code for reply in replies] == [200] * 3
    assert {image["label"] for reply in replies for image in reply.json()["images"]} == {name}
    assert len({reply.headers["etag"] for reply in replies}) == 1


async def test_a_class_for_each_picture_comes_as_several_fields(client: httpx.AsyncClient) -> None:
    several: dict[str, Any] = {"model": "lights", "label": ["light", "0"]}
    reply = await client.post("/translate", files={"image": file(noise())}, data=several)
    assert [image["label"] for image in reply.json()["images"]] == ["light", "dark"]
    assert "did you mean 'light'" in await refused(
        client, file(noise()), model="lights", label="lihgt"
    )


async def test_what_is_not_drawn_may_be_cached_without_a_seed(client: httpx.AsyncClient) -> None:
    body = {"image": b64encode(file(noise(8, 9))).decode()}
    first = await client.post("/translate", json=body)
    assert first.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": first.headers["etag"]}
    assert (await client.post("/translate", json=body, headers=known)).status_code == 304
    other = b64encode(file(noise(8, 9, salt=1))).decode()
    for change in ({"image": other}, {"fit": "stretch"}, {"strength": 0.5}, {"format": "webp"}):
        reply = await client.post("/translate", json=body | change, headers=known)
        assert reply.status_code == 200


# --- Sizes. ---


async def test_a_fixed_size_is_cropped_around_its_centre_unless_told(
    client: httpx.AsyncClient,
) -> None:
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 200
    [cropped] = await translated(client, file(pixels), strength=0)
    assert np.array_equal(cropped, np.full((8, 8, 3), 200))
    [stretched] = await translated(client, file(pixels), strength=0, fit="stretch")
    assert stretched.shape == (8, 8, 3)
    assert stretched[0, 0, 0] < 20 < 180 < stretched[0, 4, 0]


async def test_a_picture_that_is_padded_comes_back_without(client: httpx.AsyncClient) -> None:
    pixels = noise(32, 16) // 8 + 100
    [padded] = await translated(client, file(pixels), strength=0, fit="pad", model="wide")
    assert padded.shape == (8, 4, 3)
    whole = np.asarray(Image.fromarray(pixels).resize((4, 8), Image.Resampling.LANCZOS))
    assert np.array_equal(padded, whole)


@pytest.mark.parametrize("size", [(6, 6), (8, 8), (7, 13), (6, 40), (40, 9), (29, 36)])
async def test_a_free_size_is_kept(client: httpx.AsyncClient, size: tuple[int, int]) -> None:
    for model, factor in (("mosaic", 4), ("grain", 1)):
        pixels = noise(*size)
        found = await translated(client, file(pixels), strength=0, seed=0, model=model)
        assert found[0].shape == pixels.shape
        if factor > 1:
            around = [(0, -size[0] % 4), (0, -size[1] % 4), (0, 0)]
            padded = np.pad(pixels.astype(float), around, mode="reflect")
            rows, columns = padded.shape[0] // 4, padded.shape[1] // 4
            tiles = padded.reshape(rows, 4, columns, 4, 3).mean((1, 3))
            expected = tiles.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]]
            assert np.abs(found[0] - expected).max() <= 0.51


@pytest.mark.parametrize("size", [(5, 9), (8, 42), (41, 8), (36, 36), (400, 400), (2, 2)])
async def test_a_free_size_outside_its_limits_tells_them(
    client: httpx.AsyncClient, size: tuple[int, int]
) -> None:
    detail = await refused(client, file(noise(*size)), model="mosaic")
    assert f"is {size[0]} x {size[1]} pixels" in detail
    assert "sides of 6 to 41 pixels, 1200 in all, padded to multiples of 4" in detail
    [scaled] = await translated(client, file(noise(*size)), model="mosaic", fit="scale")
    height, width = scaled.shape[:2]
    assert min(height, width) >= 6
    assert max(height, width) <= 40
    assert abs(height / width - size[0] / size[1]) < 0.2 * size[0] / size[1]


async def test_a_fit_of_the_other_kind_of_model_is_refused(client: httpx.AsyncClient) -> None:
    assert "crop or stretch or pad" in await refused(client, file(noise()), fit="scale")
    detail = await refused(client, file(noise()), fit="pad", model="mosaic")
    assert "keep or scale" in detail
    narrow = file(noise(2, 60))
    assert "send another picture" in await refused(client, narrow, fit="scale", model="mosaic")


@pytest.mark.parametrize(("model", "channels"), [("grey", 1), ("plain", 3), ("clear", 4)])
async def test_pictures_come_in_the_channels_of_the_model(
    client: httpx.AsyncClient, model: str, channels: int
) -> None:
    pixels = noise(channels=4)
    [found] = await translated(client, file(pixels), model=model, strength=0)
    assert found.shape == (8, 8, channels)
    if channels == 4:
        assert np.array_equal(found, pixels)


async def test_mixed_sizes_at_once_do_not_meet(client: httpx.AsyncClient) -> None:
    sizes = [(height, width) for height in (6, 8, 13) for width in (7, 8, 21)] * 3
    pictures = [noise(*size, salt=k) for k, size in enumerate(sizes)]
    asked: list[dict[str, Any]] = [
        {"model": "grain", "seed": k, "strength": k % 2, "num_images": 1 + k % 3}
        for k in range(len(sizes))
    ]
    together = await asyncio.gather(
        *(translated(client, file(p), **each) for p, each in zip(pictures, asked, strict=True))
    )
    for picture, each, found in zip(pictures, asked, together, strict=True):
        alone = await translated(client, file(picture), **each)
        assert len(found) == each["num_images"]
        assert all(np.array_equal(a, b) for a, b in zip(found, alone, strict=True))
        assert all(one.shape == picture.shape for one in found)


# --- Pictures that start from nothing, at a size. ---


async def test_a_free_size_is_generated_as_asked(client: httpx.AsyncClient) -> None:
    async def made(**fields: Any) -> Any:  # noqa: ANN401
        return await client.post("/generate", json={"model": "reader", "seed": 1} | fields)

    reply = await made(height=12, width=20)
    assert (reply.json()["height"], reply.json()["width"]) == (12, 20)
    assert (await made()).json()["height"] == 8
    for wrong in ((10, 12), (4, 8), (40, 40), (44, 8)):
        refusal = await made(height=wrong[0], width=wrong[1])
        assert refusal.status_code == 422
        assert "sides of 6 to 41" in refusal.json()["detail"]
    assert "width: is missing" in (await made(height=8)).json()["detail"]
    picture = await client.get("/generate/reader.png?seed=1&height=12&width=20")
    assert decode(picture.content).shape == (12, 20, 3)


async def test_a_fixed_size_is_told_to_whom_asks_for_another(client: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "seed": 1, "height": 8, "width": 8}
    assert (await client.post("/generate", json=body)).status_code == 200
    reply = await client.post("/generate", json=body | {"width": 9})
    assert "makes 8 x 8 pixels (height x width) only, not 8 x 9" in reply.json()["detail"]


# --- Vectors and scores. ---


async def test_a_picture_is_encoded(client: httpx.AsyncClient) -> None:
    pixels = noise(9, 7)
    expected = np.pad(pixels, [(0, 3), (0, 1), (0, 0)], mode="reflect") / 127.5 - 1
    reply = await send(client, file(pixels), "/encode", model="reader")
    said = reply.json()
    assert (said["model"], said["version"], said["shape"]) == ("reader", 1, [3])
    assert np.allclose(said["vector"], expected.mean((0, 1)), atol=1e-5)
    array = await client.post(
        "/encode?model=reader",
        content=file(pixels),
        headers={"Content-Type": "image/png", "Accept": "application/x-npy"},
    )
    assert array.headers["content-type"] == "application/x-npy"
    found = np.load(io.BytesIO(array.content), allow_pickle=False)
    assert found.dtype == np.float32
    assert np.allclose(found, said["vector"])


async def test_a_picture_is_scored(client: httpx.AsyncClient) -> None:
    light, dark = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8, 3), np.uint8)
    for pixels, score in ((light, 1.0), (dark, -1.0)):
        reply = await client.post("/score", files={"image": file(pixels)}, data={"model": "reader"})
        assert reply.json()["score"] == pytest.approx(score)
        assert reply.headers["server-timing"].startswith("decode;dur=")
    known = {"If-None-Match": reply.headers["etag"]}
    again = await client.post(
        "/score", files={"image": file(dark)}, data={"model": "reader"}, headers=known
    )
    assert again.status_code == 304


async def test_two_answers_about_one_picture_have_two_tags(client: httpx.AsyncClient) -> None:
    replies = [await send(client, file(noise()), p, model="reader") for p in ("/encode", "/score")]
    assert len({reply.headers["etag"] for reply in replies}) == 2


async def test_vectors_and_scores_are_not_pictures(client: httpx.AsyncClient) -> None:
    body = {"image": b64encode(file(noise())).decode(), "model": "reader"}
    for path, accept in (("/encode", "image/png"), ("/score", "application/x-npy")):
        reply = await client.post(path, json=body, headers={"Accept": accept})
        assert reply.status_code == 406
    for wrong in ({"num_images": 2}, {"format": "png"}, {"quality": 3}):
        reply = await client.post("/encode", json=body | wrong)
        assert reply.status_code == 422
        assert "no such field" in reply.json()["detail"]


# --- Refusals. ---


async def test_a_model_says_what_it_answers(client: httpx.AsyncClient) -> None:
    for path, model in (("/translate", "tiny"), ("/encode", "plain"), ("/score", "plain")):
        reply = await send(client, file(noise()), path, model=model)
        assert reply.status_code == 422
        assert f"does not {path[1:]}; it answers" in reply.json()["detail"]
    reply = await client.post("/generate", json={"model": "plain"})
    assert "does not generate; it answers translate" in reply.json()["detail"]


async def test_unknown_fields_and_values_are_refused(client: httpx.AsyncClient) -> None:
    png = file(noise())
    assert "did you mean 'strength'" in await refused(client, png, strenght=1)
    assert "[0, 1]" in await refused(client, png, strength=2)
    assert "no such field" in await refused(client, png, truncation=1)
    assert "no such field" in await refused(client, png, height=8)
    assert "no classes" in await refused(client, png, label="x")
    assert "no model" in (await refused(client, png, 404, model="nothing")).lower()


async def test_what_is_no_picture_is_refused_for_what_it_is(client: httpx.AsyncClient) -> None:
    assert "send one of PNG" in await refused(client, b"a text", 415)
    assert "is empty" in await refused(client, b"")
    assert "cut off" in await refused(client, file(noise())[:-30])
    headers = {"Content-Type": "image/jpeg"}  # a PNG all the same
    assert (
        await client.post("/translate", content=file(noise()), headers=headers)
    ).status_code == 200


async def test_other_bodies_are_refused_unread(client: httpx.AsyncClient) -> None:
    for path in ("/translate", "/encode", "/score"):
        reply = await client.post(path, content=b"x", headers={"Content-Type": "text/plain"})
        assert reply.status_code == 415
        assert "image/*" in reply.json()["supported"]


async def test_large_pictures_are_decoded_and_resized_beside_the_event_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, int, bool]] = []  # the model's pictures are 8 x 8
    decode_here, bind_here = UploadedFile.decode, inputs.bind

    def note(what: str, size: int) -> None:
        found.append((what, size, threading.current_thread() is not threading.main_thread()))

    def watched_decode(uploaded: UploadedFile, channels: int) -> Picture:
        note("decode", uploaded.pixels)
        return decode_here(uploaded, channels)

    def watched_bind(plan: Plan) -> Rows:
        assert plan.source is not None
        note("bind", plan.source.picture.pixels.size)
        return bind_here(plan)

    monkeypatch.setattr(UploadedFile, "decode", watched_decode)
    monkeypatch.setattr("service.making.bind", watched_bind)
    for side in (8, 64, 300):
        await translated(client, file(noise(side, side)))
    assert found == [
        ("decode", 64, False),
        ("bind", 192, False),
        ("decode", 4096, False),
        ("bind", 12_288, False),
        ("decode", 90_000, True),
        ("bind", 270_000, True),
    ]


async def test_numbers_that_are_not_finite_are_the_models_fault(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def infer(*_: object, **__: object) -> Answer:
        return Answer(Rows({"score": np.array([np.nan], np.float32)}), 0, 0)

    monkeypatch.setattr(Model, "infer", infer)
    reply = await send(client, file(noise()), "/score", model="reader")
    assert reply.status_code == 500
    assert "not finite" in reply.json()["detail"]


async def test_cards_tell_the_knobs_of_what_a_model_answers(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/models")).json()
    cards = {card["name"]: card for card in listed["models"]}
    assert listed["limits"]["max_upload_pixels"] == 16_000_000
    assert cards["lights"]["classes"] == ["dark", "light"]
    assert cards["lights"]["scalars"] == {"strength": {"low": 0.0, "high": 1.0, "default": 1.0}}
    assert cards["lights"]["preview"] is None
    assert cards["reader"]["scalars"].keys() == {"truncation"}
    assert "/generate/reader.png" in cards["reader"]["preview"]


async def test_a_picture_translated_before_is_sent_again(
    config: ServiceConfig, serve: Serve
) -> None:
    png, headers = file(noise()), {"Content-Type": "image/png"}
    cached = config.model_copy(update={"cache_bytes": 2**20})
    async with serve(create_app(cached)) as client:
        first = (await send(client, png, model="grain", seed=3)).json()
        url = "/translate?model=grain&seed=3"
        again = (await client.post(url, content=png, headers=headers)).json()
        other = (await send(client, file(noise(salt=1)), model="grain", seed=3)).json()
    told = [reply["timing"]["cached"] for reply in (first, again, other)]
    assert told == [False, True, False]
    assert first["images"] == again["images"] != other["images"]


async def test_limits_of_pixels_are_told(config: ServiceConfig, serve: Serve) -> None:
    limited = config.model_copy(update={"max_upload_pixels": 99})
    async with serve(create_app(limited)) as client:
        assert await translated(client, file(noise(9, 11)))
        detail = await refused(client, file(noise(10, 10)), 413)
    assert detail == "image: it has 10 x 10 pixels, and the limit is 99: send a smaller one"


async def test_rows_that_would_never_fit_into_the_queue_are_refused_unmade(
    config: ServiceConfig, serve: Serve
) -> None:
    limited = config.model_copy(update={"queue_bytes": 2 * (4 * 2 * 3 * 8 * 8 + 4)})
    async with serve(create_app(limited)) as client:
        sent = {"model": "grain", "seed": 1}
        assert await translated(client, file(noise()), num_images=2, **sent)
        detail = await refused(client, file(noise()), 413, num_images=3, **sent)
        body = {"model": "reader", "seed": 1, "height": 32, "width": 36}
        generated = await client.post("/generate", json=body)
    assert "3 images of 8 x 8 pixels start from 4620 bytes, and at most 3080 may wait" in detail
    assert generated.status_code == 413


async def test_the_phases_are_the_whole_of_a_reading(
    config: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, decode_here, npy_here = Clock(), UploadedFile.decode, npy
    progress = Progress(start=clock())
    clock.now += 7  # the body arrives, is read, and its form is chosen

    def decoded(uploaded: UploadedFile, channels: int) -> Picture:
        clock.now += 3
        return decode_here(uploaded, channels)

    def rendered(numbers: Floats) -> bytes:
        clock.now += 50
        return npy_here(numbers)

    for module in (reading, making):
        monkeypatch.setattr(module, "perf_counter", clock)
    monkeypatch.setattr(reading, "npy", rendered)
    monkeypatch.setattr(UploadedFile, "decode", decoded)
    app = create_app(config)
    async with serve(app):
        model, upload = app.state.repository.get("reader"), Upload(file(noise()), ReadRequest())
        conditions = Conditions(Form("npy", "npy"))
        await reading.read("encode", model, upload, conditions, config, progress)
    assert (progress.phases_s["decode"], progress.phases_s["encode"]) == (10, 50)


async def test_a_deadline_runs_from_when_the_body_was_read(
    config: ServiceConfig, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, decode_here, bind_here = Clock(), UploadedFile.decode, inputs.bind
    asked_s: list[float] = []

    def decoded(uploaded: UploadedFile, channels: int) -> Picture:
        clock.now += 3
        return decode_here(uploaded, channels)

    def bound(plan: Plan) -> Rows:
        clock.now += 4
        return bind_here(plan)

    async def infer(*_: object, timeout_s: float, **__: object) -> None:
        asked_s.append(timeout_s)
        raise QueueFull("later", retry_after_s=1)

    for module in (framework, generate, making):
        monkeypatch.setattr(module, "perf_counter", clock)
    monkeypatch.setattr(making, "bind", bound)
    monkeypatch.setattr(UploadedFile, "decode", decoded)
    monkeypatch.setattr(Model, "infer", infer)
    async with serve(create_app(config)) as client:
        await send(client, file(noise()), model="plain", timeout_s=20)
        await send(client, file(noise()), "/score", model="reader", timeout_s=20)
        headers = {"Accept": "multipart/mixed"}
        await client.post("/generate", json={"model": "reader", "timeout_s": 20}, headers=headers)
        await client.post("/v2/models/reader/infer", json={"parameters": {"timeout": 20_000_000}})
        await send(client, file(noise()), model="plain", timeout_s=5)
    assert asked_s == [13, 13, 16, 16, 0]


async def test_uploads_are_counted_and_logged_like_any_request(
    config: ServiceConfig, serve: Serve
) -> None:
    async with serve(create_app(config)) as client:
        await send(client, file(noise()), model="grain", num_images=3)
        await send(client, b"nothing of the kind")
        lines = (await client.get("/metrics")).text.splitlines()
    counted = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    for series, value in {
        'requests_total{model="grain",route="/translate",status="200"}': 1,
        'requests_total{model="plain",route="/translate",status="415"}': 1,
        'images_total{model="grain"}': 3,
        'phase_seconds_count{model="grain",phase="decode"}': 1,
        'refusals_total{reason="invalid"}': 1,
    }.items():
        assert float(counted[f"ganymede_{series}"]) == value
