"""Numbers from bytes and JSON; and whatever is sent, it is bound or refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.manifest import FixedSize, Graph, ImageOutput, Label, Latent, Scalar
from service.config import ServiceConfig
from service.errors import InvalidInput, MalformedRequest, TooLarge
from service.rows import Rows
from service.v2.binding import bind, take
from service.v2.datatypes import Datatype, Misfit, from_bytes, from_json
from service.v2.parsing import parse_infer

WANTED = st.sampled_from(["FP32", "INT64"])
SIZE = FixedSize(height=8, width=8)
GRAPH = Graph(
    inputs=(
        Latent(name="z", shape=(2,)),
        Label(name="label", classes=("a", "b")),
        Scalar(name="truncation", low=0, high=1, default=1),
    ),
    outputs=(ImageOutput(name="image", channels=1),),
    onnx="g.onnx",
)
CONFIG = ServiceConfig(max_images=4)


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=8))
def test_floats_survive_bytes_and_json(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    content = memoryview(b"?" + array.tobytes())[1:]  # not aligned, as behind a JSON
    found = from_bytes("FP32", "FP32", array.shape, content)
    np.testing.assert_array_equal(found, array)
    assert found.flags.aligned
    assert found.flags.owndata
    read = json.loads(json.dumps(array.tolist()))
    np.testing.assert_array_equal(from_json("FP32", "FP32", array.shape, read), array)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8))
def test_integers_survive_bytes_and_json(numbers: list[int]) -> None:
    array = np.array(numbers, np.int64)
    found = from_bytes("INT64", "INT64", array.shape, memoryview(array.tobytes()))
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(from_json("INT64", "INT64", array.shape, numbers), array)


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        *(("FP32", sent) for sent in ("FP64", "INT32", "UINT8", "fp32", "")),
        *(("INT64", sent) for sent in ("UINT64", "FP32", "BOOL", "BYTES")),
    ],
)
def test_what_could_lose_something_is_refused(wanted: Datatype, sent: str) -> None:
    with pytest.raises(Misfit, match=f"send {wanted}"):
        from_bytes(wanted, sent, (0,), memoryview(b""))
    with pytest.raises(Misfit, match=f"send {wanted}"):
        from_json(wanted, sent, (0,), [])


# --- Anything at all. ---

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(["z", "label", "truncation", "image", "y"])
SHAPES = st.lists(st.integers(0, 5), max_size=3) | st.just([2, 2]) | st.just([2])
DATA = st.lists(st.integers(-1, 2) | st.floats(), max_size=8) | st.just([0, 1, 0, 1]) | ANYTHING
TENSORS = st.fixed_dictionaries(
    {"name": NAMES, "shape": SHAPES, "datatype": st.sampled_from(["FP32", "INT64", "FP16"])},
    optional={
        "data": DATA,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(0, 32)}),
    },
)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**53 - 1) | ANYTHING,
        "label": st.sampled_from(["a", "b", "c", 0, 1, 2]),
        "num_images": st.integers(1, 5) | ANYTHING,
        "truncation": st.floats(0, 1) | ANYTHING,
        "height": st.integers(7, 8) | ANYTHING,
        "width": st.integers(7, 8) | ANYTHING,
        "timeout": ANYTHING,
        "_fields_set": ANYTHING,
        "latents": ANYTHING,
    },
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=3) | ANYTHING,
        "inputs": st.lists(TENSORS, max_size=3) | ANYTHING,
        "outputs": st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=2) | ANYTHING,
        "parameters": PARAMETERS | ANYTHING,
    },
)


@pytest.mark.anyio
@given(document=REQUESTS, behind=st.binary(max_size=40), cut=st.integers(-1, 1) | st.just(0))
@settings(max_examples=200, deadline=None, derandomize=True)
async def test_whatever_is_sent_is_bound_or_refused(
    document: dict[str, Any], behind: bytes, cut: int
) -> None:
    head = json.dumps(document).encode()
    try:
        sent = parse_infer(head + behind, str(max(0, len(head) + cut)))
        taken = take(GRAPH, SIZE, sent, CONFIG)
        bound = await bind(taken, SIZE, sent.request.parameters, CONFIG)
    except (MalformedRequest, InvalidInput, TooLarge) as refusal:
        told = refusal.detail
    else:
        told = ""
        check(bound.rows)
    assert len(told) < 2000


def check(rows: Rows) -> None:
    assert 1 <= len(rows) <= CONFIG.max_images
    assert list(rows.arrays) == ["z", "label", "truncation"]
    assert rows["z"].shape == (len(rows), 2)
    assert np.isfinite(rows["z"]).all()
    assert {array.dtype for array in rows.arrays.values()} <= {np.dtype("f4"), np.dtype("i8")}
    assert set(rows["label"]) <= {0, 1}
    assert ((rows["truncation"] >= 0) & (rows["truncation"] <= 1)).all()
