"""What declared outputs are as arrays, and what is wrong with arrays that should be them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from export.dimension import resolve_shape
from export.manifest import ImageOutput, Output, ScoreOutput
from export.rows import Rows


@dataclass(frozen=True)
class Expected:
    """One row of a tensor."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def _expected(dtype: DTypeLike, *shape: int) -> Expected:
    return Expected(np.dtype(dtype), shape)


def finished(output: Output, height: int, width: int) -> Expected:
    """An output as a bundle gives it: pictures as uint8 [H, W, C]."""
    if isinstance(output, ImageOutput):
        return _expected(np.uint8, height, width, output.channels)
    return before_quantisation(output, height, width)


def before_quantisation(output: Output, height: int, width: int) -> Expected:
    """An output as a network gives it: pictures as float32 [C, H, W]."""
    match output:
        case ImageOutput(channels=channels):
            return _expected(np.float32, channels, height, width)
        case ScoreOutput():
            return _expected(np.float32)
    return _expected(np.float32, *resolve_shape(output.shape, height, width))


def fault(expected: Mapping[str, Expected], given: Rows, count: int) -> str | None:
    """The first output that is not as declared, in words; None when all are.

    Args:
        expected: by name.
        given: by name.
        count: how many rows they have.
    """
    for name, declared in expected.items():
        if name not in given:
            return f"no output {name!r}, only {list(given)}"
        array, shape = given[name], (count, *declared.shape)
        if array.shape != shape or array.dtype != declared.dtype:
            return (
                f"output {name!r} is {array.dtype} {list(array.shape)}, "
                f"declared as {declared.dtype} {list(shape)}"
            )
    return None
