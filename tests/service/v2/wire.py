"""V2 requests and replies as bytes, as the protocol's clients make and read them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DATATYPES = {"UINT8": "u1", "FP32": "<f4", "INT64": "<i8"}


def in_json(name: str, array: Array, datatype: str) -> dict[str, Any]:
    """An input with its numbers in one list."""
    told = {"name": name, "shape": list(array.shape), "datatype": datatype}
    return told | {"data": array.ravel().tolist()}


def in_binary(name: str, array: Array, datatype: str) -> dict[str, Any]:
    """An input whose bytes follow the JSON."""
    told = {"name": name, "shape": list(array.shape), "datatype": datatype}
    return told | {"parameters": {"binary_data_size": array.nbytes}}


async def infer_binary(
    client: httpx.AsyncClient, document: dict[str, Any], *arrays: Array, model: str = "tiny"
) -> httpx.Response:
    """Send a document with arrays behind it."""
    head = json.dumps(document).encode()
    return await client.post(
        f"/v2/models/{model}/infer",
        content=b"".join([head, *(array.tobytes() for array in arrays)]),
        headers={
            "Inference-Header-Content-Length": str(len(head)),
            "Content-Type": "application/octet-stream",
        },
    )


def outputs(reply: httpx.Response) -> dict[str, Array]:
    """The tensors of a reply, in JSON or behind it."""
    assert reply.status_code == 200, reply.text
    length = reply.headers.get("Inference-Header-Content-Length")
    body = reply.content
    binary = reply.headers["content-type"] == "application/octet-stream"
    assert binary == (length is not None)
    head, rest = (body[: int(length)], body[int(length) :]) if length else (body, b"")
    found = {}
    for output in json.loads(head)["outputs"]:
        dtype = np.dtype(DATATYPES[output["datatype"]])
        size_bytes = output.get("parameters", {}).get("binary_data_size")
        if size_bytes is None:
            flat = np.array(output["data"], dtype)
        else:
            flat, rest = np.frombuffer(rest[:size_bytes], dtype), rest[size_bytes:]
        found[output["name"]] = flat.reshape(output["shape"])
    assert rest == b""
    return found
