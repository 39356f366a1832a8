"""``POST /v2/models/{name}/infer``: tensors in, tensors out, and the rest drawn from a seed."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest

from export.draw import draw
from export.manifest import Latent
from tests.service.pictures import load
from tests.service.v2.wire import in_binary, in_json, infer_binary, outputs
from tests.tiny import LATENT

pytestmark = pytest.mark.anyio

URL = "/v2/models/tiny/infer"
LATENTS = draw(Latent(name="z", shape=(LATENT,)), [7, 8, 9], 8, 8)
LABELS = np.array([0, 1, 2])
ONES = np.ones(3, np.float32)


async def generated(client: httpx.AsyncClient, **wish: Any) -> np.ndarray:  # noqa: ANN401
    reply = await client.post("/generate", json=wish, headers={"Accept": "application/x-npy"})
    assert reply.status_code == 200, reply.text
    return load(reply.content)


# --- The tensors of the graph. ---


async def test_tensors_in_json_and_in_binary_give_the_pictures_of_generate(
    client: httpx.AsyncClient,
) -> None:
    expected = [(await generated(client, seed=7 + k, label=k))[0] for k in range(3)]
    named = [("z", LATENTS, "FP32"), ("label", LABELS, "INT64"), ("truncation", ONES, "FP32")]
    in_document = await client.post(URL, json={"inputs": [in_json(*each) for each in named]})
    behind = await infer_binary(
        client, {"inputs": [in_binary(*each) for each in named]}, LATENTS, LABELS, ONES
    )
    mixed = await infer_binary(
        client,
        {"inputs": [in_binary(*named[0]), in_json(*named[1]), in_binary(*named[2])]},
        LATENTS,
        ONES,
    )
    for reply in (in_document, behind, mixed):
        np.testing.assert_array_equal(outputs(reply)["image"], expected)
        assert "parameters" not in reply.json()  # nothing was drawn


async def test_nested_data_is_the_same_as_flat(client: httpx.AsyncClient) -> None:
    nested = in_json("z", LATENTS, "FP32") | {"data": LATENTS.tolist()}
    one, other = [
        outputs(await client.post(URL, json={"inputs": [z, in_json("label", LABELS, "INT64")]}))
        for z in (nested, in_json("z", LATENTS, "FP32"))
    ]
    np.testing.assert_array_equal(one["image"], other["image"])


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32"])
async def test_narrower_integers_are_taken(client: httpx.AsyncClient, datatype: str) -> None:
    labels = LABELS.astype(datatype.lower())
    document = {"inputs": [in_binary("label", labels, datatype)], "parameters": {"seed": 7}}
    narrow = outputs(await infer_binary(client, document, labels))
    document = {"inputs": [in_json("label", LABELS, "INT64")], "parameters": {"seed": 7}}
    wide = outputs(await client.post(URL, json=document))
    np.testing.assert_array_equal(narrow["image"], wide["image"])


async def test_half_floats_are_taken_in_binary(client: httpx.AsyncClient) -> None:
    halves = LATENTS.astype(np.float16)
    label = in_json("label", LABELS, "INT64")
    document = {"inputs": [in_binary("z", halves, "FP16"), label]}
    found = outputs(await infer_binary(client, document, halves))
    widened = in_json("z", halves.astype(np.float32), "FP32")
    expected = outputs(await client.post(URL, json={"inputs": [widened, label]}))
    np.testing.assert_array_equal(found["image"], expected["image"])


async def test_brain_floats_are_the_upper_half(client: httpx.AsyncClient) -> None:
    upper = (LATENTS.view(np.uint32) >> 16).astype(np.uint16)
    label = in_json("label", LABELS, "INT64")
    document = {"inputs": [in_binary("z", upper, "BF16"), label]}
    found = outputs(await infer_binary(client, document, upper))
    cut = (upper.astype(np.uint32) << 16).view(np.float32)
    expected = outputs(await client.post(URL, json={"inputs": [in_json("z", cut, "FP32"), label]}))
    np.testing.assert_array_equal(found["image"], expected["image"])


async def test_a_body_without_json_is_one_row_of_the_only_input(client: httpx.AsyncClient) -> None:
    headers = {"Inference-Header-Content-Length": "0"}
    reply = await client.post(URL, content=LATENTS[:1].tobytes(), headers=headers)
    assert reply.status_code == 400
    assert "models with one input" in reply.json()["error"]


# --- What is left out. ---


async def test_what_is_left_out_is_drawn_as_generate_draws_it(client: httpx.AsyncClient) -> None:
    labels = [0, 2, 1, 1]
    document = {
        "inputs": [in_json("label", np.array(labels), "INT64")],
        "parameters": {"seed": 7, "truncation": 0.5},
    }
    found = outputs(await client.post(URL, json=document))["image"]
    asked = {"seed": 7, "num_images": 4, "label": labels, "truncation": 0.5}
    np.testing.assert_array_equal(found, await generated(client, **asked))


async def test_nothing_but_parameters_is_a_request(client: httpx.AsyncClient) -> None:
    document = {"parameters": {"seed": 2**53 - 1, "num_images": 3, "label": "star"}}
    reply = await client.post(URL, json=document)
    expected = await generated(client, seed=2**53 - 1, num_images=3, label="star")
    np.testing.assert_array_equal(outputs(reply)["image"], expected)
    assert reply.json()["parameters"] == {"seed": 2**53 - 1}


async def test_a_seed_that_was_drawn_is_told_and_draws_the_same(client: httpx.AsyncClient) -> None:
    first = await client.post(URL, json={"inputs": []})
    again = await client.post(URL, json={"parameters": first.json()["parameters"]})
    np.testing.assert_array_equal(outputs(first)["image"], outputs(again)["image"])
    other = await client.post(URL, json={})
    assert other.json()["parameters"] != first.json()["parameters"]


async def test_a_scalar_is_the_same_in_every_row(client: httpx.AsyncClient) -> None:
    tensors = [in_json("z", LATENTS, "FP32"), in_json("label", LABELS, "INT64")]
    document = {"inputs": tensors, "parameters": {"truncation": 0.25}}
    by_name = outputs(await client.post(URL, json=document))
    quarters = in_json("truncation", ONES / 4, "FP32")
    by_tensor = outputs(await client.post(URL, json={"inputs": [*tensors, quarters]}))
    np.testing.assert_array_equal(by_name["image"], by_tensor["image"])


# --- The reply. ---


async def test_a_reply_says_what_it_is(client: httpx.AsyncClient) -> None:
    reply = await client.post(URL, json={"id": "größe 7", "parameters": {"seed": 7}})
    told = reply.json()
    [image] = told.pop("outputs")
    assert told == {
        "model_name": "tiny",
        "model_version": "1",
        "id": "größe 7",
        "parameters": {"seed": 7},
    }
    assert (image["name"], image["datatype"], image["shape"]) == ("image", "UINT8", [1, 8, 8, 1])
    assert len(image["data"]) == 64
    assert "id" not in (await client.post(URL, json={})).json()


@pytest.mark.parametrize(
    ("wanted", "binary"),
    [
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "image", "parameters": {"binary_data": True}}]}, True),
        ({"outputs": [{"name": "image"}]}, False),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "image", "parameters": {"binary_data": False}}],
            },
            False,
        ),
        ({"parameters": {"binary_data_output": True}, "outputs": [{"name": "image"}]}, True),
    ],
)
async def test_an_output_is_binary_where_that_is_asked(
    client: httpx.AsyncClient, wanted: dict[str, Any], binary: bool
) -> None:
    label = in_json("label", LABELS, "INT64")
    parameters = {"seed": 7} | wanted.get("parameters", {})
    reply = await client.post(URL, json=wanted | {"inputs": [label], "parameters": parameters})
    assert ("Inference-Header-Content-Length" in reply.headers) == binary
    expected = await generated(client, seed=7, num_images=3, label=[0, 1, 2])
    np.testing.assert_array_equal(outputs(reply)["image"], expected)


async def test_a_version_is_pinned_by_the_path(client: httpx.AsyncClient) -> None:
    for version in (1, 2):
        url = f"/v2/models/colour/versions/{version}/infer"
        reply = await client.post(url, json={"parameters": {"seed": 3, "label": "größe"}})
        assert reply.json()["model_version"] == str(version)
        expected = await generated(client, model="colour", version=version, seed=3, label="größe")
        np.testing.assert_array_equal(outputs(reply)["image"], expected)
    newest = await client.post("/v2/models/colour/infer", json={})
    assert newest.json()["model_version"] == "2"


async def test_members_that_the_protocol_does_not_name_are_passed_over(
    client: httpx.AsyncClient,
) -> None:
    label = in_json("label", LABELS, "INT64") | {"content": 1, "parameters": {"content_type": "np"}}
    reply = await client.post(URL, json={"model_name": "tiny", "inputs": [label]})
    assert outputs(reply)["image"].shape == (3, 8, 8, 1)


# --- Refusals. ---

Z = in_json("z", LATENTS, "FP32")
LABEL = in_json("label", LABELS, "INT64")
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown input": ({"inputs": [LABEL | {"name": "lable"}]}, "did you mean 'label'"),
    "an input twice": ({"inputs": [LABEL, LABEL]}, "'label' is listed twice"),
    "another datatype": ({"inputs": [Z | {"datatype": "FP64"}]}, "input 'z' is FP64: send FP32"),
    "a half float": ({"inputs": [Z | {"datatype": "FP16"}]}, "as binary data only"),
    "another shape": ({"inputs": [Z | {"shape": [8, 3]}]}, r"has the shape [8, 3]: send [8, 8]"),
    "too few numbers": ({"inputs": [Z | {"data": [0.5]}]}, "as one list of 24"),
    "a ragged list": ({"inputs": [Z | {"data": [[1], [1, 2]]}]}, "as one list of 24"),
    "a negative side": ({"inputs": [Z | {"shape": [-3, 8]}]}, "inputs[0].shape[0]"),
    "texts": ({"inputs": [Z | {"data": ["1"] * 24}]}, "must be numbers"),
    "truths": ({"inputs": [LABEL | {"data": [True, False, True]}]}, "must be whole numbers"),
    "fractions": ({"inputs": [LABEL | {"data": [0.0, 1.0, 2.0]}]}, "must be whole numbers"),
    "a large integer": ({"inputs": [LABEL | {"data": [0, 1, 10**30]}]}, "INT64 cannot hold"),
    "a large number": ({"inputs": [Z | {"data": [1e39] * 24}]}, "finite"),
    "a huge integer": ({"inputs": [Z | {"data": [10**400] * 24}]}, "FP32 cannot hold"),
    "no such class": ({"inputs": [LABEL | {"data": [0, 1, 3]}]}, "each must be in 0 to 2"),
    "a negative class": ({"inputs": [LABEL | {"data": [0, 1, -1]}]}, "each must be in 0 to 2"),
    "a scalar out of range": (
        {"inputs": [in_json("truncation", 2 * ONES, "FP32")]},
        "must be numbers in [0, 1]",
    ),
    "no rows": ({"inputs": [LABEL | {"shape": [0], "data": []}]}, "is for 0 rows"),
    "many rows": ({"inputs": [in_json("label", np.zeros(65, int), "INT64")]}, "send 1 to 64"),
    "rows that differ": ({"inputs": [Z, LABEL | {"shape": [2], "data": [0, 1]}]}, "they differ"),
    "another number": ({"inputs": [LABEL], "parameters": {"num_images": 2}}, "they differ"),
    "no data": ({"inputs": [{"name": "z", "shape": [3, 8], "datatype": "FP32"}]}, "needs its"),
    "data twice": ({"inputs": [Z | {"parameters": {"binary_data_size": 4}}]}, "numbers once"),
    "shared memory": (
        {"inputs": [Z | {"parameters": {"shared_memory_region": "a"}}]},
        "shared memory, which is not offered",
    ),
    "bytes that are not there": (
        {"inputs": [in_binary("z", LATENTS, "FP32")]},
        "0 are left behind the JSON",
    ),
    "an unknown output": ({"outputs": [{"name": "picture"}]}, "there are image"),
    "an output twice": ({"outputs": [{"name": "image"}] * 2}, "listed twice"),
    "classification": (
        {"outputs": [{"name": "image", "parameters": {"classification": 3}}]},
        "classification is not offered",
    ),
    "an unknown parameter": ({"parameters": {"truncatoin": 1}}, "did you mean 'truncation'"),
    "one of other requests": ({"parameters": {"interpolate": 3}}, "'interpolate' is not read here"),
    "a negative seed": ({"parameters": {"seed": -1}}, "parameters.seed"),
    "an unknown class": ({"parameters": {"label": "sta"}}, "did you mean 'star'"),
    "a label twice": ({"inputs": [LABEL], "parameters": {"label": 1}}, "give it once"),
    "a scalar twice": (
        {"inputs": [in_json("truncation", ONES, "FP32")], "parameters": {"truncation": 1}},
        "give it once",
    ),
    "another size": ({"parameters": {"height": 9, "width": 9}}, "8 x 8 pixels"),
    "another task": ({"parameters": {"task": "encode"}}, "does not encode; it answers generate"),
    "no task": ({"parameters": {"task": "paint"}}, "parameters.task"),
    "many faults": ({"inputs": [{"name": 1}] * 9}, "inputs[0].name"),
    "many inputs": ({"inputs": [LABEL] * 65}, "inputs"),
    "an id that is a number": ({"id": 7}, "id: Input should be a valid string"),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_does_not_fit_is_told(client: httpx.AsyncClient, case: str) -> None:
    document, said = BAD[case]
    reply = await client.post(URL, content=json.dumps(document))
    assert reply.status_code == 400, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.json().keys() == {"error"}
    assert said in reply.json()["error"]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
async def test_what_is_not_finite_is_refused(client: httpx.AsyncClient, text: str) -> None:
    content = json.dumps({"inputs": [Z]}).replace(str(Z["data"][0]), text, 1)
    reply = await client.post(URL, content=content)
    assert "must be finite numbers" in reply.json()["error"]
    broken = LATENTS.copy()
    broken[1, 1] = np.float32(text)
    reply = await infer_binary(client, {"inputs": [in_binary("z", broken, "FP32")]}, broken)
    assert "must be finite numbers" in reply.json()["error"]


@pytest.mark.parametrize(
    ("length", "content", "said"),
    [
        ("-1", b"{}", "0 to 2"),
        ("3", b"{}", "0 to 2"),
        ("9" * 5000, b"{}", "0 to 2"),
        ("two", b"{}", "0 to 2"),
        ("2", b"{}behind", "6 bytes behind the JSON belong to no input"),
        ("1", b"{}", "is not JSON"),
        (None, b"[" * 1000, "is not JSON"),
        (None, b"9" * 5000, "is not JSON"),
        (None, b"[]", "body"),
        (None, b"", "is not JSON"),
    ],
)
async def test_a_body_that_is_cut_wrongly_is_told(
    client: httpx.AsyncClient, length: str | None, content: bytes, said: str
) -> None:
    headers = {"Inference-Header-Content-Length": length} if length is not None else {}
    reply = await client.post(URL, content=content, headers=headers)
    assert reply.status_code == 400
    assert said in reply.json()["error"]


async def test_bytes_that_are_not_the_shapes_are_told(client: httpx.AsyncClient) -> None:
    told = in_binary("z", LATENTS[:2], "FP32") | {"shape": [3, 8]}
    reply = await infer_binary(client, {"inputs": [told]}, LATENTS[:2])
    assert reply.status_code == 400
    assert "comes with 64 bytes, and the shape [3, 8] of FP32 has 96" in reply.json()["error"]


async def test_an_answer_too_long_for_json_is_told(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.v2.rendering.JSON_NUMBERS", 64)
    assert (await client.post(URL, json={})).status_code == 200
    two = {"parameters": {"num_images": 2}}
    reply = await client.post(URL, json=two)
    assert reply.status_code == 400
    assert "at most 64 are told in JSON: ask for binary_data" in reply.json()["error"]
    two["parameters"]["binary_data_output"] = True
    assert (await client.post(URL, json=two)).status_code == 200
