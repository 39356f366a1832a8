"""A model that reads text: trained for a moment, exported, and asked in words."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from export.bundle import TextUnreadable, load_bundle
from export.manifest import Text
from export.publish import export_bundle
from export.sampling import choose_texts, pictures
from export.source import open_generator
from export.verify import verify
from service.app import create_app
from service.config import ServiceConfig
from service.images import Pixels
from tests.service.conftest import serving
from tests.service.pictures import decode, load
from tests.tiny import tiny_bundle
from tests.training.tiny import Silent, never, tiny_config, write_npz
from training.run import load_run
from training.train import train

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of words after four steps, beside one of classes."""
    folder = tmp_path_factory.mktemp("text")
    config = tiny_config(write_npz(folder / "said.npz"), "text", kimg=0.032)
    assert train(config, folder / "run", Silent(), never)
    export_bundle(load_run(folder / "run"), folder / "models", "said")
    tiny_bundle(folder / "models", name="tiny")
    return folder / "models"


@pytest.fixture(scope="module")
async def client(models: Path) -> AsyncIterator[httpx.AsyncClient]:
    config = ServiceConfig(models=(models,), default_model="said", watch_s=0, cache_bytes=0)
    async with serving(create_app(config)) as client:
        yield client


async def drawn(client: httpx.AsyncClient, text: str, **body: object) -> Pixels:
    headers = {"Accept": "application/x-npy"}
    reply = await client.post("/generate", json={"text": text, **body}, headers=headers)
    assert reply.status_code == 200, reply.text
    return load(reply.content)


async def refused(client: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    """What is wrong with the field ``text``."""
    reply = await client.post("/generate", json=body)
    assert reply.status_code == 422, reply.text
    [wrong] = reply.json()["errors"]
    assert wrong["field"] == "text"
    return dict(wrong)


# --- The bundle. ---


def test_the_bundle_holds_its_tokenizer_and_examples(models: Path) -> None:
    bundle = load_bundle(models / "said" / "1")
    entry = bundle.manifest.graph("generate").text
    assert isinstance(entry, Text)
    assert entry.tokenizer in bundle.manifest.files
    assert set(entry.examples) == {"a bag", "a boot", "a coat", "a shirt"}
    assert bundle.words["generator"].read("a bag").unknown == ()
    assert bundle.manifest.parity is not None
    assert bundle.manifest.parity.torchscript_max_abs is not None
    assert "the preview's seeds give the preview's pictures" in list(verify(bundle.path))


def test_samples_are_drawn_from_texts_in_turn(models: Path) -> None:
    generator = open_generator("said", [models], None)
    texts = choose_texts(generator, [], [0, 1, 2, 3, 4])
    assert list(texts) == ["a bag", "a boot", "a coat", "a shirt", "a bag"]
    assert pictures(generator, [0, 1], texts=["a bag", "a boot"]).shape == (2, 16, 16, 1)


# --- Over HTTP. ---


async def test_the_picture_is_what_a_run_of_the_graph_gives(
    client: httpx.AsyncClient, models: Path
) -> None:
    generator = open_generator("said", [models], None)
    expected = pictures(generator, [7, 8], texts=["a coat", "a coat"])
    assert np.array_equal(await drawn(client, "a coat", seed=7, num_images=2), expected)


async def test_words_decide_and_their_case_does_not(client: httpx.AsyncClient) -> None:
    coat = await drawn(client, "a coat", seed=7)
    assert np.array_equal(await drawn(client, "A  Coat!", seed=7), coat)
    assert not np.array_equal(await drawn(client, "a bag", seed=7), coat)
    assert not np.array_equal(await drawn(client, "a coat", seed=8), coat)


async def test_two_texts_are_two_tags(client: httpx.AsyncClient) -> None:
    async def tag(text: str) -> str:
        reply = await client.post("/generate", json={"text": text, "seed": 7})
        return reply.headers["ETag"]

    assert await tag("a coat") == await tag("A COAT")
    assert await tag("a coat") != await tag("a bag")


async def test_a_plain_url_takes_a_text(client: httpx.AsyncClient) -> None:
    reply = await client.get("/generate/said.png", params={"text": "a coat", "seed": 7})
    assert reply.status_code == 200, reply.text
    picture = decode(reply.content).reshape(1, 16, 16, 1)
    assert np.array_equal(picture, await drawn(client, "a coat", seed=7))
    reply = await client.get("/generate/said.png", params={"text": "7"})
    assert "no word that the model knows" in reply.text


async def test_unknown_words_are_told_beside_known_ones(client: httpx.AsyncClient) -> None:
    body = {"text": "a purple coat, pl\u00e9ase", "seed": 7}
    reply = await client.post("/generate", json=body)
    assert reply.status_code == 200
    assert reply.headers["Ganymede-Unknown-Words"] == "purple, pl%C3%A9ase"
    known = await client.post("/generate", json={"text": "a coat", "seed": 7})
    assert "Ganymede-Unknown-Words" not in known.headers


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no word"),
        ("!!", "holds no word"),
        ("cot", "not 'cot' (near 'coat')"),
        ("a " * 17, "has 17 words: the model reads 16"),
    ],
)
async def test_a_text_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, text: str, told: str
) -> None:
    wrong = await refused(client, text=text)
    assert told in wrong["detail"]
    assert "a coat" in wrong["examples"]


async def test_a_text_that_is_missing_is_asked_for(client: httpx.AsyncClient) -> None:
    wrong = await refused(client, seed=7)
    assert "say it" in wrong["detail"]
    assert "a coat" in wrong["examples"]


@pytest.mark.parametrize("text", ["x" * 1001, 7, ["a coat"], None])
async def test_what_no_model_reads_is_refused_before_any_is_asked(
    client: httpx.AsyncClient, text: object
) -> None:
    reply = await client.post("/generate", json={"text": text})
    assert reply.status_code == 422
    assert "text" in reply.text


async def test_a_model_of_classes_reads_no_text(client: httpx.AsyncClient) -> None:
    wrong = await refused(client, model="tiny", text="a coat")
    assert wrong["detail"] == "this model reads none: leave it out"


async def test_a_card_shows_examples(client: httpx.AsyncClient) -> None:
    cards = {card["name"]: card for card in (await client.get("/models")).json()["models"]}
    assert set(cards["said"]["texts"]) == {"a bag", "a boot", "a coat", "a shirt"}
    assert cards["tiny"]["texts"] is None


async def test_a_prompt_of_openai_is_the_text(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a coat", "model": "said", "seed": 7}
    told = (await client.post("/v1/images/generations", json=body)).json()
    same = (await client.post("/generate", json={"text": "a coat", "seed": 7})).json()
    assert [each["b64_json"] for each in told["data"]] == [each["data"] for each in same["images"]]
    assert told["data"][0]["revised_prompt"] is None
    listed = (await client.get("/v1/models")).json()["data"]
    assert {each["id"]: each["classes"] for each in listed}["said"] == []


async def test_v2_takes_the_tokens_themselves(client: httpx.AsyncClient, models: Path) -> None:
    ids = load_bundle(models / "said" / "1").words["generator"].read("a coat").ids
    tensor = {"name": "text", "datatype": "INT64", "shape": [1, len(ids)], "data": list(ids)}
    asked = {"inputs": [tensor], "parameters": {"seed": 7}}
    reply = await client.post("/v2/models/said/infer", json=asked)
    assert reply.status_code == 200, reply.text
    given = np.array(reply.json()["outputs"][0]["data"], np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(given, await drawn(client, "a coat", seed=7))


def test_a_bundle_that_cannot_be_read_here_is_refused_whole(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TextUnreadable, match=r"said.1: tokenizer\.json takes .*pip install token"):
        load_bundle(models / "said" / "1")
    assert load_bundle(models / "said" / "1", verify=False).manifest.name == "said"
    load_bundle(models / "tiny" / "1")
