"""From the rows of an answer to the reply: JSON, and the binary tensors behind it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from export.manifest import Graph, Size
from service.errors import InferenceFailed, InvalidInput
from service.fields import NAME_SHOWN, suggest
from service.replies import Reply
from service.rows import Array, Rows
from service.v2.datatypes import NUMPY, tensor_type
from service.v2.schemas import InferRequest

JSON_NUMBERS = 2**22  # in one reply: more would keep a core busy for seconds
BINARY = "application/octet-stream"


def wanted_outputs(graph: Graph, request: InferRequest) -> dict[str, bool]:
    """The outputs that the reply carries, in order, and whether each is binary.

    Raises:
        InvalidInput: one that the graph does not have, or in a way that is not offered.
    """
    known = [output.name for output in graph.outputs]
    by_default = request.parameters.binary_data_output
    wanted = {}
    for output in request.outputs:
        name, more = output.name[:NAME_SHOWN], output.parameters.model_extra or {}
        if output.name not in known:
            hint, _ = suggest(name, known)
            raise InvalidInput(
                f"there is no output {name!r}{hint or ':'} there are {', '.join(known)}"
            )
        for refused in ("classification", "shared_memory_region"):
            if more.get(refused):
                raise InvalidInput(f"output {name!r}: {refused} is not offered, leave it out")
        binary = output.parameters.binary_data
        wanted[output.name] = by_default if binary is None else binary
    return wanted or dict.fromkeys(known, by_default)


def render(
    head: dict[str, Any], graph: Graph, size: Size, rows: Rows, wanted: dict[str, bool]
) -> Reply:
    """The reply with the outputs that are wanted.

    Args:
        head: its first members.
        graph: that made the rows.
        size: of its pictures.
        rows: the answer.
        wanted: as ``wanted_outputs`` says.

    Raises:
        InvalidInput: too many numbers for JSON.
        InferenceFailed: numbers that JSON cannot say.
    """
    outputs: list[dict[str, Any]] = []
    behind: list[bytes] = []
    entries = {entry.name: entry for entry in graph.outputs}
    _refuse_long_json(rows, wanted)
    for name, binary in wanted.items():
        array = rows[name]
        datatype, _ = tensor_type(entries[name], size)
        said: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if binary:
            behind.append(np.ascontiguousarray(array, NUMPY[datatype]).tobytes())
            said["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            said["data"] = _json_numbers(name, array)
        outputs.append(said)
    document = json.dumps(head | {"outputs": outputs}, separators=(",", ":")).encode()
    if not any(wanted.values()):
        return Reply(200, document, {"Content-Type": "application/json"})
    headers = {"Content-Type": BINARY, "Inference-Header-Content-Length": str(len(document))}
    return Reply(200, b"".join([document, *behind]), headers)


def _refuse_long_json(rows: Rows, wanted: dict[str, bool]) -> None:
    numbers = sum(rows[name].size for name, binary in wanted.items() if not binary)
    if numbers > JSON_NUMBERS:
        raise InvalidInput(
            f"the answer has {numbers} numbers, and at most {JSON_NUMBERS} are told in JSON: ask "
            "for binary_data, or for fewer rows"
        )


def _json_numbers(name: str, array: Array) -> list[Any]:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InferenceFailed(
            f"the model's {name} is not finite, which JSON cannot say: ask for binary_data"
        )
    numbers: list[Any] = array.ravel().tolist()
    return numbers
