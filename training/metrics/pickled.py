"""Weights that exist as a pickle alone: arrays are read, and nothing that could be run."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from training.errors import FeaturesMissing


class _Arrays(pickle.Unpickler):
    """Knows arrays of numpy, and nothing that could be run."""

    _KNOWN: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as pickle says
        """As ``Unpickler`` says."""
        try:
            return self._KNOWN[module, name]
        except KeyError:
            raise FeaturesMissing(f"the weights hold {module}.{name}, which is no array") from None


def arrays(content: bytes) -> dict[str, Any]:
    """The nested arrays in a pickle that holds nothing else.

    Raises:
        FeaturesMissing: it does.
    """
    found: dict[str, Any] = _Arrays(io.BytesIO(content)).load()
    return found
