"""What the V2 clients of others say of a service; run where they are installed, with its URL.

Prints a line for each client; any disagreement is a failed assertion. The model is ``tiny``, as
``tests.tiny`` makes it, and ``invert``, as ``tests.tiny_images`` does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from tritonclient.utils import InferenceServerException

LABELS = np.array([0, 1, 2])
SEED = {"seed": 7}


def label(*, binary: bool) -> triton.InferInput:
    """The classes of three pictures."""
    tensor = triton.InferInput("label", [3], "INT64")
    tensor.set_data_from_numpy(LABELS, binary_data=binary)
    return tensor


def refused(call: Callable[[], object]) -> tuple[str, str]:
    """The status and the message of a call that must be refused."""
    try:
        call()
    except InferenceServerException as error:
        return str(error.status()), str(error.message())
    raise AssertionError("it was not refused")


def check_triton(url: str) -> np.ndarray:
    """Ask everything that Triton's client can ask; the pictures of ``LABELS`` and ``SEED``."""
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("none")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("tiny")["inputs"][0]["shape"] == [-1, 8]
    assert client.get_model_config("tiny", "1")["max_batch_size"] == 64
    index = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
    assert index == {"tiny": "READY", "invert": "READY"}

    reply = client.infer("tiny", [label(binary=True)], request_id="42", parameters=SEED)
    assert reply.get_response()["id"] == "42"
    pictures: np.ndarray = reply.as_numpy("image")
    assert (pictures.shape, pictures.dtype) == ((3, 8, 8, 1), np.dtype("uint8"))
    for binary_in in (False, True):
        for binary_out in (False, True):
            output = triton.InferRequestedOutput("image", binary_data=binary_out)
            again = client.infer(
                "tiny",
                [label(binary=binary_in)],
                model_version="1",
                outputs=[output],
                priority=2,
                timeout=30_000_000,
                parameters=SEED,
            )
            assert np.array_equal(again.as_numpy("image"), pictures)
    check_images(client)

    status, message = refused(lambda: client.infer("none", [label(binary=True)]))
    assert (status, "there is no model 'none'" in message) == ("404", True)
    status, message = refused(lambda: client.infer("tiny", [label(binary=True)], timeout=1))
    assert (status, "did not answer within" in message) == ("504", True)
    [stats] = client.get_inference_statistics("tiny")["model_stats"]
    assert stats["inference_count"] == 15
    assert client.get_inference_statistics()["model_stats"]
    check_control(client)
    client.close()
    return pictures


def check_images(client: triton.InferenceServerClient) -> None:
    """A model that starts from a picture; as several requests at once, too."""
    source = np.linspace(-1, 1, 3 * 8 * 8, dtype=np.float32).reshape(1, 3, 8, 8)
    tensor = triton.InferInput("source", list(source.shape), "FP32").set_data_from_numpy(source)
    negative = np.round((1 - source) * 127.5).transpose(0, 2, 3, 1)
    waiting = [client.async_infer("invert", [tensor]) for _ in range(4)]
    for found in (each.get_result().as_numpy("image") for each in waiting):
        assert np.abs(found - negative).max() <= 1


def check_control(client: triton.InferenceServerClient) -> None:
    """A model goes and comes back."""
    client.unload_model("invert")
    assert not client.is_model_ready("invert")
    client.load_model("invert")
    assert client.is_model_ready("invert")
    status, _ = refused(lambda: client.load_model("none"))
    assert status == "404"
    status, message = refused(lambda: client.load_model("tiny", config="{}"))
    assert (status, "its own configuration" in message) == ("400", True)


async def check_kserve(url: str, pictures: np.ndarray) -> None:
    """Ask everything that KServe's client can ask of this protocol."""
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "tiny")
    assert not await client.is_model_ready(url, "none")
    for binary_in in (False, True):
        for binary_out in (False, True):
            tensor = InferInput("label", [3], "INT64")
            tensor.set_data_from_numpy(LABELS, binary_data=binary_in)
            outputs: list[Any] = [RequestedOutput("image", {"binary_data": binary_out})]
            request = InferRequest(
                "tiny", [tensor], request_id="43", parameters=SEED, request_outputs=outputs
            )
            reply = await client.infer(url, request, model_name="tiny")
            assert reply.id == "43"
            assert np.array_equal(reply.outputs[0].as_numpy(), pictures)
    await client.close()


if __name__ == "__main__":
    made = check_triton(sys.argv[1])
    print("tritonclient agrees")
    asyncio.run(check_kserve(sys.argv[1], made))
    print("kserve agrees")
