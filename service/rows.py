"""Rows: named arrays with one first axis, what travels from a request to the device and back."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Work(Protocol):
    """Rows, or what is known of them before they are made."""

    def __len__(self) -> int:
        """How many."""

    @property
    def row_elements(self) -> int:
        """Numbers in one of them."""

    @property
    def nbytes(self) -> int:
        """Bytes of them all."""


class Rows:
    """Arrays by name, each [N, ...] with the same N >= 1; ``len`` is N.

    Slices are views. An array that is given to Rows is no longer written to.

    Args:
        arrays: at least one.
    """

    __slots__ = ("_length", "_nbytes", "_row_elements", "arrays")

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays
        lengths = [len(array) for array in arrays.values()]
        if not lengths or min(lengths) != max(lengths):
            raise ValueError(
                "every array needs the same number of rows, got "
                f"{dict(zip(arrays, lengths, strict=True))}"
            )
        self._length = lengths[0]
        self._nbytes = self._row_elements = -1  # not counted yet

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, key: str) -> Array: ...
    @overload
    def __getitem__(self, key: slice) -> Rows: ...
    def __getitem__(self, key: str | slice) -> Array | Rows:
        """One array by name, or some of the rows of all."""
        if isinstance(key, str):
            return self.arrays[key]
        return Rows({name: array[key] for name, array in self.arrays.items()})

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        if self._nbytes < 0:
            self._nbytes = sum([array.nbytes for array in self.arrays.values()])
        return self._nbytes

    @property
    def row_elements(self) -> int:
        """Numbers in one row of all arrays: what its work is reckoned by."""
        if self._row_elements < 0:
            sizes = [array.size for array in self.arrays.values()]
            self._row_elements = sum(sizes) // self._length
        return self._row_elements

    def shape_key(self) -> Hashable:
        """Rows with equal keys may share a batch: the same names and shapes of one row."""
        return tuple(sorted((name, array.shape[1:]) for name, array in self.arrays.items()))

    def repeat(self, count: int) -> Rows:
        """Each row ``count`` times."""
        return Rows({name: np.repeat(array, count, axis=0) for name, array in self.arrays.items()})

    @staticmethod
    def join(parts: Sequence[Rows], padding_rows: int = 0) -> Rows:
        """All parts in order, then copies of the last row; one part alone is not copied."""
        if len(parts) == 1 and not padding_rows:
            return parts[0]
        padding = [parts[-1][-1:].repeat(padding_rows)] if padding_rows else []
        pieces = [*parts, *padding]
        return Rows(
            {name: np.concatenate([piece[name] for piece in pieces]) for name in parts[0].arrays}
        )


@lru_cache(maxsize=256)
def elements_of(shape_key: Hashable) -> int:
    """The ``row_elements`` of rows with this ``shape_key``."""
    assert isinstance(shape_key, tuple)
    return sum(math.prod(shape) for _, shape in shape_key)
