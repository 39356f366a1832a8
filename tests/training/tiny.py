"""Runs so small that hundreds of them fit into a minute."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from training.checkpoint import checkpoints
from training.config import RunConfig, validate
from training.recipe import Batch, Recipe, Shape
from training.recipes import SYSTEMS
from training.trainer import Tick

CLASSES = ("bag", "boot", "coat", "shirt")
SHAPE = Shape(1, 16, CLASSES, source_channels=1)
SMALL: dict[str, dict[str, object]] = {
    "gan": {"hidden": 8},
    "dcgan": {"base_channels": 4, "max_channels": 8, "d_base_channels": 4},
    "cgan": {"base_channels": 4, "max_channels": 8, "d_base_channels": 4},
    "autoencoder": {},
    "vae": {"hidden": [8]},
    "text": {"base_channels": 4, "max_channels": 8, "d_base_channels": 4, "embedding": 6},
    "ebgan": {"base_channels": 4, "max_channels": 8, "d_base_channels": 4, "code": 4},
    "pix2pix": {"base_channels": 4, "max_channels": 8, "d_base_channels": 4, "patch": 16},
    "unpaired": {
        **{"base_channels": 4, "halvings": 1, "blocks": 1, "hidden": 8},
        **{"d_base_channels": 4, "patch": 16},
    },
}
LATENT = {system: {} if system == "pix2pix" else {"latent": 4} for system in SYSTEMS}
PAIRED = {system: {"pairing": "downscale"} if one.paired else {} for system, one in SYSTEMS.items()}


def write_npz(path: Path, seed: int = 0) -> Path:
    """48 grey images of 16 pixels: the class, which the caption says, puts the bright quarter."""
    random = np.random.default_rng(seed)
    labels = np.arange(48) % 4
    images = random.integers(0, 64, (48, 16, 16), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 160
    words = np.array([f"a {CLASSES[label]}" for label in labels])
    np.savez(path, images=images, labels=labels, classes=np.array(CLASSES), captions=words)
    return path


def tiny_config(
    source: Path | str,
    system: str = "gan",
    recipe: dict[str, object] | None = None,
    **schedule: Any,  # noqa: ANN401
) -> RunConfig:
    """A run of 16 steps of 8 images: a tick every 4 steps, a checkpoint every 8."""
    raw = {
        "preset": "tiny",
        "recipe": {"system": system, **LATENT[system], **SMALL[system], **(recipe or {})},
        "data": {"source": str(source), "size": 16, **PAIRED[system]},
        "schedule": {
            "kimg": 0.128,
            "batch": 8,
            "ema_kimg": 0.03,
            "tick_kimg": 0.032,
            "checkpoint_kimg": 0.064,
            "precision": "float32",
            **schedule,
        },
    }
    return validate(raw, "tiny")


def tiny_recipe(system: str, shape: Shape = SHAPE, **settings: Any) -> Recipe:  # noqa: ANN401
    """The first stage of a small recipe, always with the same weights."""
    torch.manual_seed(0)
    config = tiny_config("none", system, settings)
    return next(SYSTEMS[system].stages(config.recipe, shape))


def tiny_batch(count: int = 8, channels: int = 1, size: int = 16, seed: int = 0) -> Batch:
    """Noise with labels, and noise to make it from."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels, size, size, generator=generator) * 2 - 1
    source = torch.rand(count, 1, size, size, generator=generator) * 2 - 1
    return Batch(x, torch.arange(count) % len(CLASSES), source)


class Silent:
    """A Watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int, int]] = []
        self.ticks: list[int] = []

    def begin(self, stage: int, images: int, total: int) -> None:
        self.begun.append((stage, images, total))

    def tick(self, tick: Tick, images_per_s: float) -> None:
        self.ticks.append(tick.images)


def never() -> bool:
    """Never stop."""
    return False


def after(steps: int) -> Callable[[], bool]:
    """Stop when so many iterations are done."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > steps

    return stop


def newest(run: Path) -> dict[str, Tensor]:
    """Every tensor of a run's newest checkpoint: weights, average, optimisers, random state."""
    folder = checkpoints(run / "checkpoints")[-1]
    return {
        f"{path.stem}.{name}": tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def stats(run: Path) -> list[dict[str, Any]]:
    """The ticks of a run, without what depends on the machine's speed."""
    rows = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_s")} for r in rows]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether both hold the same names and, bit for bit, the same values."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
