"""Networks that measure are trained once, and kept in a cache."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn


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
