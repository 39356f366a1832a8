"""The protocol's names of numbers, and tensors from and to bytes and JSON.

A graph takes FP32 and INT64. Whatever these can hold without loss is taken too; FP64 is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.manifest import FixedSize, Input, Output, Size
from service.rows import Array
from service.signature import signature_of

Datatype = Literal["FP32", "INT64", "UINT8"]
Shape = tuple[int | None, ...]

NUMPY: dict[Datatype, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("u1"),
}
_OF_ONNX: dict[str, Datatype] = {
    "tensor(float)": "FP32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
}
# What may be sent for each, as it lies in the bytes; BF16 is the upper half of an FP32.
_SENT: dict[Datatype, dict[str, np.dtype[Any]]] = {
    "FP32": {name: np.dtype(code) for name, code in (("FP16", "<f2"), ("FP32", "<f4"))}
    | {"BF16": np.dtype("<u2")},
    "INT64": {
        f"{sign}INT{8 * size}": np.dtype(f"<{kind}{size}")
        for sign, kind in (("", "i"), ("U", "u"))
        for size in (1, 2, 4, 8)
        if (sign, size) != ("U", 8)
    },
}
_ONLY_BINARY = ("FP16", "BF16")  # JSON has no agreed way to write them


class Misfit(ValueError):
    """A tensor is not what the graph takes; the message follows the tensor's name."""


def tensor_type(entry: Input | Output, size: Size) -> tuple[Datatype, Shape]:
    """The datatype of an input or output, and the shape of its rows; None follows the size."""
    onnx_type, shape = signature_of(entry, size)
    return _OF_ONNX[onnx_type], shape


def row_shape(entry: Input | Output, height: int, width: int) -> tuple[int, ...]:
    """The shape of a row for pictures of ``height`` x ``width`` pixels."""
    _, shape = signature_of(entry, FixedSize(height=height, width=width))
    return tuple(side for side in shape if side is not None)


def from_bytes(wanted: Datatype, sent: str, shape: Sequence[int], content: memoryview) -> Array:
    """Numbers as they lie in memory, little-endian, in a copy of their own.

    Raises:
        Misfit.
    """
    stored = _stored(wanted, sent)
    needed_bytes = stored.itemsize * math.prod(shape)
    if len(content) != needed_bytes:
        raise Misfit(
            f"comes with {len(content)} bytes, and the shape {list(shape)} of {sent} has "
            f"{needed_bytes}: make binary_data_size and the shape agree"
        )
    raw: NDArray[Any] = np.frombuffer(content, stored).reshape(shape)
    if sent == "BF16":
        raw = (raw.astype("<u4") << 16).view("<f4")
    return raw.astype(NUMPY[wanted], copy=True)


def from_json(wanted: Datatype, sent: str, shape: Sequence[int], data: list[Any]) -> Array:
    """Numbers as they are written: nested as the shape says, or in one list.

    Raises:
        Misfit.
    """
    _stored(wanted, sent)
    if sent in _ONLY_BINARY:
        raise Misfit(f"is {sent}, which is read as binary data only: send that, or {wanted}")
    elements = math.prod(shape)
    array = _nested(data)
    if array is None or (array.shape != tuple(shape) and array.shape != (elements,)):
        raise Misfit(
            f"needs its data nested as the shape {list(shape)} says, or as one list of {elements}"
        )
    allowed = {int, float} if wanted == "FP32" else {int}
    if not {type(value) for value in array.flat} <= allowed:
        raise Misfit("must be numbers" if wanted == "FP32" else "must be whole numbers")
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused as such
            exact = array.astype(np.float64) if wanted == "FP32" else array
            return exact.astype(NUMPY[wanted]).reshape(shape)
    except OverflowError:
        raise Misfit(f"has a number that {wanted} cannot hold") from None


def _nested(data: list[Any]) -> NDArray[Any] | None:
    try:
        return np.array(data, dtype=object)
    except ValueError:  # ragged
        return None


def _stored(wanted: Datatype, sent: str) -> np.dtype[Any]:
    known = _SENT[wanted]
    if sent not in known:
        raise Misfit(f"is {sent[:20]}: send {wanted} (or one of {', '.join(sorted(known))})")
    return known[sent]
