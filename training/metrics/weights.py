"""Networks that measure are trained once, and kept in a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def trained(
    make: Callable[[], Network], fit: Callable[[Network], None], seed: int, path: Path | None
) -> Network:
    """A network in eval mode: as it was kept in ``path``, else made and fitted from the seed."""
    with torch.random.fork_rng([]):  # the caller's random state stays as it is
        torch.manual_seed(seed)
        network = make()
        if path is None or not restored(network, path):
            fit(network)
            if path:
                keep(network, path)
    return network.eval()


def key_of(facts: object, images: NDArray[np.uint8], targets: NDArray[Any]) -> str:
    """Names what a network learnt from: equal for equal facts, images and integer targets."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(targets, "<i8").data)
    return digest.hexdigest()[:32]


def restored(network: nn.Module, path: Path) -> bool:
    """Whether the network now has the weights that were kept."""
    try:
        network.load_state_dict(load_file(path))
    except (FileNotFoundError, SafetensorError):
        return False  # a file cut short is as good as none
    return True


def keep(network: nn.Module, path: Path) -> None:
    """Write the weights, by rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, partial)
    partial.replace(path)
