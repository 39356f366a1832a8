"""Runs that are made to fail, each in its own way, and healthy ones: seconds each.

Data: the 1,797 digits of 8x8 pixels that come with scikit-learn. A pair of perceptrons learns them
in a few hundred steps; what makes it fail is in its settings alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from training.config import RunConfig, validate
from training.diagnose.verdicts import Name
from training.errors import Diverged
from training.train import train
from training.trainer import Tick

TICKS, BATCH = 60, 64

Settings = dict[str, Any]


def adam(lr: float, beta1: float = 0.5, decay_from: float = 1.0) -> Settings:
    """Of either network."""
    return {"lr": lr, "beta1": beta1, "beta2": 0.99, "decay_from": decay_from}


def sgd(lr: float) -> Settings:
    """Of either network."""
    return {"kind": "sgd", "lr": lr}


@dataclass(frozen=True)
class Case:
    """A run, and the verdict that it must get.

    Args:
        expected: the verdict.
        kimg: how long it trains.
        recipe: its settings, over those of a small pair.
        pictures: the first so many digits are the data; 0: all.
        share: of the schedule after which it is stopped.
    """

    expected: Name
    kimg: float
    recipe: Settings
    pictures: int = 0
    share: float = 1.0


def game(g: Settings, d: Settings, **others: Any) -> Settings:  # noqa: ANN401 - of the recipe
    """A pair of perceptrons."""
    pair = {"system": "gan", "latent": 16, "hidden": 64, "g_optimizer": g, "d_optimizer": d}
    return pair | others


CALM = adam(2e-3, 0.0, 0.5)
SETTLES = game(CALM, CALM, objective="relativistic", r1=1.0, r2=1.0)
CONVOLUTIONS = {
    "system": "dcgan",
    "latent": 16,
    "base_channels": 8,
    "d_base_channels": 8,
    "g_optimizer": adam(1e-3, 0.0, 0.5),
    "d_optimizer": adam(1e-3, 0.0, 0.5),
}

CASES: dict[str, Case] = {
    "relativistic, R1 and R2": Case("healthy", 16, SETTLES),
    "non-saturating, R1": Case("healthy", 16, game(CALM, CALM, r1=1.0)),
    "hinge, R1": Case("healthy", 24, game(CALM, CALM, hidden=128, objective="hinge", r1=1.0)),
    "least squares, R1": Case(
        "healthy", 24, game(CALM, CALM, hidden=128, objective="least_squares", r1=1.0)
    ),
    "convolutions, spectral norm": Case("healthy", 12, CONVOLUTIONS),
    "stopped at a tenth": Case("undertrained", 16, SETTLES, share=0.1),
    "convolutions, 1.2 kimg": Case("undertrained", 1.2, CONVOLUTIONS),
    "D learns nearly nothing": Case("mode collapse", 12, game(adam(5e-3), adam(1e-4))),
    "one latent number, R1": Case("mode collapse", 16, game(CALM, CALM, latent=1, r1=1.0)),
    "minimax, 5 steps of D": Case(
        "vanishing gradients", 8, game(adam(1e-4), adam(1e-3), objective="minimax", d_steps=5)
    ),
    "G learns nearly nothing": Case("D overpowering", 8, game(adam(1e-5), adam(1e-3), d_steps=5)),
    "momentum, fast G": Case("oscillation", 24, game(adam(5e-3, 0.9), adam(1e-3, 0.9))),
    "8 pictures": Case(
        "memorisation",
        16,
        game(CALM, CALM, latent=4, hidden=128, objective="relativistic", r1=0.3, r2=0.3),
        pictures=8,
    ),
    "plain descent, rate 2": Case(
        "divergence", 4, game(sgd(2.0), sgd(2.0), objective="least_squares")
    ),
}


class Unwatched:
    """A Watcher that looks away."""

    def begin(self, stage: int, images: int, total: int) -> None:
        """Nothing."""

    def tick(self, tick: Tick, images_per_s: float) -> None:
        """Nothing."""


def write_digits(path: Path, pictures: int = 0) -> Path:
    """An .npz of the digits; see ``Case.pictures``."""
    digits = load_digits()
    count = pictures or len(digits.images)
    pixels = (digits.images[:count] * 15.9375).astype(np.uint8)
    classes = np.array([f"digit {k}" for k in range(10)])
    np.savez(path, images=pixels, labels=digits.target[:count], classes=classes)
    return path


def config(case: Case, source: Path, seed: int) -> RunConfig:
    """The run's configuration."""
    schedule = {
        "kimg": case.kimg,
        "batch": BATCH,
        "seed": seed,
        "ema_kimg": 1.0,
        "tick_kimg": case.kimg / TICKS,
        "checkpoint_kimg": case.kimg / 2,
        "precision": "float32",
    }
    data = {"source": str(source), "size": 8}
    return validate({"recipe": case.recipe, "data": data, "schedule": schedule}, "a case")


def run(case: Case, folder: Path, seed: int) -> Path:
    """Train it to its end, good or bad, or to where it is stopped; the run folder."""
    folder.mkdir(parents=True)
    source = write_digits(folder / "digits.npz", case.pictures)
    path, settings = folder / "run", config(case, source, seed)
    steps = iter(range(int(case.share * settings.schedule.images / BATCH)))
    stop = (lambda: next(steps, None) is None) if case.share < 1 else (lambda: False)
    try:
        train(settings, path, Unwatched(), stop)
    except Diverged:
        assert case.expected == "divergence", case
    return path
