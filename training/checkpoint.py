"""What survives a crash: everything that the next step depends on, written atomically.

A checkpoint is a folder ``<stage>-<images>`` of safetensors and JSON. It is written beside its
place and renamed, so that a kill at any moment leaves the last one whole. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from training.ema import EMA
from training.errors import CheckpointError
from training.log import Log
from training.recipe import Recipe

REASON_CHARACTERS = 200  # of another library's message: it may list every tensor
KEEP = 2  # the newest of a stage; the older one is there should a disk lose the newer


@dataclass
class State:
    """A stage in progress.

    Args:
        recipe: the networks that learn.
        ema: the averaged generator.
        optimizers: by phase name.
        images: seen so far in this stage.
        batches: drawn so far: where to go on in the data.
        stage: index of the stage in the run.
        log: of the tick in progress.
    """

    recipe: Recipe
    ema: EMA
    optimizers: dict[str, Optimizer] = field(default_factory=dict)
    images: int = 0
    batches: int = 0
    stage: int = 0
    log: Log = field(default_factory=Log)


def save_checkpoint(state: State, folder: Path) -> Path:
    """Write ``state`` into ``folder``, drop the oldest of its stage, and return the new path."""
    final = folder / f"{state.stage:02d}-{state.images:010d}"
    if final.exists():  # as many images seen is the same state: never risk what is there
        return final
    for left_by_a_kill in folder.glob(".[0-9][0-9]-*"):
        shutil.rmtree(left_by_a_kill)
    partial = folder / f".{final.name}.partial"
    partial.mkdir(parents=True)
    tensors, scalars = _flatten_optimizers(state.optimizers)
    tensors |= {f"log.{name}": total for name, total in _plain(state.log.sums).items()}
    save_file(_plain(state.recipe.state_dict()), partial / "recipe.safetensors")
    save_file(_plain(state.ema.module.state_dict()), partial / "generator.safetensors")
    save_file(tensors | _random_state(), partial / "progress.safetensors")
    progress = {
        "stage": state.stage,
        "images": state.images,
        "batches": state.batches,
        "optimizers": scalars,
        "log": state.log.counts,
    }
    (partial / "progress.json").write_text(json.dumps(progress, indent=1))
    for path in [*partial.iterdir(), partial]:
        _flush(path)
    partial.rename(final)
    _flush(folder)
    for old in checkpoints(folder, state.stage)[:-KEEP]:
        hidden = old.rename(folder / f".{old.name}.old")  # never half a checkpoint under its name
        shutil.rmtree(hidden)
    return final


def checkpoints(folder: Path, stage: int | None = None) -> list[Path]:
    """The complete checkpoints of a run, or of one of its stages, oldest first."""
    wanted = "[0-9][0-9]" if stage is None else f"{stage:02d}"
    return sorted(folder.glob(f"{wanted}-{'[0-9]' * 10}"))


def load_checkpoint(path: Path, state: State) -> None:
    """Fill ``state``, whose networks and optimisers are already built, from ``path``.

    Raises:
        CheckpointError: a file is missing or broken, or belongs to other networks.
    """
    with _reading(path):
        progress = json.loads((path / "progress.json").read_text())
        tensors = load_file(path / "progress.safetensors")
        state.recipe.load_state_dict(load_file(path / "recipe.safetensors"))
        state.ema.module.load_state_dict(load_file(path / "generator.safetensors"))
        _restore_optimizers(state.optimizers, tensors, progress["optimizers"])
        state.images, state.batches = progress["images"], progress["batches"]
        counts = progress["log"]
        state.log = Log({name: tensors[f"log.{name}"] for name in counts}, counts)
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["rng.cuda"])


def load_generator(path: Path, recipe: Recipe) -> int:
    """Put the averaged generator of a checkpoint into ``recipe``; returns the images seen.

    Raises:
        CheckpointError: a file is missing or broken, or belongs to another network.
    """
    with _reading(path):
        recipe.load_state_dict(load_file(path / "recipe.safetensors"))
        recipe.generator.load_state_dict(load_file(path / "generator.safetensors"))
        return int(json.loads((path / "progress.json").read_text())["images"])


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of load_state_dict: the files are whole, and hold other tensors
        raise CheckpointError(
            f"{path} belongs to other networks than config.yaml describes, or was written by "
            f"another release: put config.yaml back ({_reason(error)})"
        ) from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is broken ({type(error).__name__}: {_reason(error)}); "
            "delete that folder to go on from the checkpoint before it"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:REASON_CHARACTERS]


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies that share no memory, as safetensors wants them."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _random_state() -> dict[str, Tensor]:
    states = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["rng.cuda"] = torch.cuda.get_rng_state()
    return states


def _flatten_optimizers(
    optimizers: Mapping[str, Optimizer],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for name, optimizer in optimizers.items():
        scalars[name] = {}
        for index, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{name}.{index}.{key}"] = value
                else:
                    scalars[name][f"{index}.{key}"] = value
    return _plain(tensors), scalars


def _restore_optimizers(
    optimizers: Mapping[str, Optimizer], tensors: Mapping[str, Tensor], scalars: dict[str, Any]
) -> None:
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Any]] = {}
        prefix = f"optimizer.{name}."
        found = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        for place, value in (found | scalars[name]).items():
            index, key = place.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        _match_layout(optimizer)


def _match_layout(optimizer: Optimizer) -> None:
    """Give the state of each parameter the strides of the parameter.

    A fused optimiser walks both in the order of memory: moments that were saved contiguous,
    beside weights that are channels last, would be applied to the wrong weights.
    """
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
