"""Rows: named arrays with one first axis, what travels from a request to the device and back."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
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


@dataclass(frozen=True, eq=False)
class Rows:
    """Arrays by name, each [N, ...] with the same N >= 1; ``len`` is N.

    Slices are views. An array that is given to Rows is no longer written to.
    """

    arrays: Mapping[str, Array]
    _length: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lengths = {len(array) for array in self.arrays.values()}
        if len(lengths) != 1:
            raise ValueError(
                "every array needs the same number of rows, got "
                f"{ {name: len(array) for name, array in self.arrays.items()} }"
            )
        object.__setattr__(self, "_length", lengths.pop())

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

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    @cached_property
    def row_elements(self) -> int:
        """Numbers in one row of all arrays: what its work is reckoned by."""
        return sum(array.size for array in self.arrays.values()) // len(self)

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
