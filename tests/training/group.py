"""The same steps for one process and for several; a program that several processes run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.training.tiny import Silent, after, never, tiny_config
from training import data, processes
from training.config import RunConfig
from training.data.batches import Batches
from training.launch import fabric, together
from training.recipe import Batch
from training.recipes import SYSTEMS
from training.run import describe, shape_of
from training.train import begin, resume, train
from training.trainer import fit

COMPARING = {"minibatch_kernels": 4, "minibatch_dims": 2, "minibatch_deviation": True}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gan": ("gan", {"r1": 1.0, "objective": "relativistic"}),
    "gan, dropout": ("gan", {"discriminator": "maxout", "dropout": 0.5, "prior": "uniform"}),
    "gan, simultaneous": ("gan", {"d_steps": 2, "updates": "simultaneous"}),
    "dcgan": ("dcgan", {}),
    "dcgan, batch norm, R1, R2": ("dcgan", {"d_norm": "batch", "r1": 1.0, "r2": 1.0}),
    "dcgan, comparing": ("dcgan", {**COMPARING, "r1": 1.0}),
    "dcgan, packing": ("dcgan", {"packing": 2, "r1": 1.0}),
    "cgan": ("cgan", {"mismatch": 0.5}),
    "autoencoder": ("autoencoder", {}),
    "vae": ("vae", {"likelihood": "gaussian"}),
    "pix2pix": (
        "pix2pix",
        {"depth": 3, "max_channels": 8, "dropout_levels": 1, "patch": 16},
    ),
    "cgan, mode seeking": ("cgan", {"mode_seeking": 1.0, "r2": 1.0}),
    "text": ("text", {"contrast": 0.5, "shift": 2, "mode_seeking": 0.5}),
    "unpaired": ("unpaired", {"fold": 2, "cycle_weight": 1.0, "mode_seeking": 0.5}),
    "ebgan": ("ebgan", {"pretrain_kimg": 0.016, "d_norm": "batch"}),
}
ACCUMULATED = "dcgan, comparing"  # also in two parts
TAKEN_OFF: dict[str, tuple[str, ...]] = {
    "dcgan, batch norm, R1, R2": (
        "discriminator.features.layers.2.bias",
        "discriminator.features.layers.5.bias",
    ),
    "ebgan": ("discriminator.encoder.0.layers.2.bias", "discriminator.decoder.3.1.bias"),
    "unpaired": (
        *(f"places.{layer}.bias" for layer in ("0", "3", "6.first", "6.second")),
        *(f"blocks.0.{layer}.bias" for layer in ("first", "second")),
        "ups.0.bias",
    ),
}
"""The biases before a norm, which takes them off again: they have no slope but rounding."""


def short(source: Path) -> RunConfig:
    """A run of 6 steps, and a checkpoint every 2."""
    return tiny_config(source, kimg=0.048, tick_kimg=0.016, checkpoint_kimg=0.016)


def walk(source: Path, system: str, settings: dict[str, Any], **schedule: int) -> dict[str, Tensor]:
    """Every number of 3 steps: terms, signals and gradient norms of each tick, and what is kept."""
    torch.manual_seed(0)
    images = data.load(source)
    if SYSTEMS[system].paired:
        images = replace(images, sources=images.images[..., ::-1])
    config = tiny_config(source, system, settings, kimg=0.024, tick_kimg=0.016, **schedule)
    recipe = next(SYSTEMS[system].stages(config.recipe, shape_of(describe(images))))
    state = begin(recipe, config.schedule.ema_kimg, 0, torch.device("cpu"))
    found: dict[str, Tensor] = {}
    for tick in fit(state, Batches(images, 8, 0), config.schedule, fabric()):
        for kind in ("terms", "signals", "grad_norm"):
            for name, value in getattr(tick, kind).items():
                found[f"{tick.images}/{kind}/{name}"] = torch.tensor(value)
    kept = {"recipe": recipe, "average": state.ema.module}
    found |= {
        f"{k}/{n}": v.clone().contiguous()
        for k, m in kept.items()
        for n, v in m.state_dict().items()
    }
    return found | {"random state": torch.get_rng_state()}


def slopes(seed: int = 0) -> dict[str, Tensor]:
    """A batch norm and a comparison of rows, with a penalty on the slope: derivatives of both."""
    torch.manual_seed(seed)
    norm = torch.nn.BatchNorm1d(3)
    rows = torch.randn(8, 3)
    with processes.share(Batch(rows)) as own:
        x = own.x.clone().requires_grad_()
        rows = torch.tanh(norm(x))
        likeness = (rows @ processes.whole(rows).T).square().mean(1)
    (slope,) = torch.autograd.grad(likeness.sum(), x, create_graph=True)
    torch.autograd.backward((likeness + slope.square().sum(1)).mean())
    weights = [p.grad for p in norm.parameters() if p.grad is not None]
    processes.average(weights)
    return {f"slopes/{k}": weight for k, weight in enumerate(weights)} | {
        f"slopes/{name}": value.float() for name, value in norm.state_dict().items()
    }


def main(folder: Path) -> None:
    """All cases in as many processes as there are; each writes what it found."""
    source = folder / "stripes.npz"
    with together(2):
        found = slopes()
        for name, (system, settings) in CASES.items():
            found |= {f"{name}: {k}": v for k, v in walk(source, system, settings).items()}
        system, settings = CASES[ACCUMULATED]
        parts = walk(source, system, settings, accumulate=2)
        found |= {f"in parts: {k}": v for k, v in parts.items()}
        run, watcher = folder / f"run-{processes.rank()}", Silent()
        stop = after(3) if processes.rank() else never  # one is told to stop: all do
        assert not train(short(source), run, watcher, stop)
        if not processes.leads():
            assert not watcher.begun
            assert not watcher.ticks
        resume(folder / "by-one", Silent(), never)
        save_file(found, folder / f"found-{processes.rank()}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
