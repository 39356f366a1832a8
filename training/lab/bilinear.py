"""The game min over x, max over y of x y: what simultaneous and alternating updates do to it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from training.config import ScheduleConfig
from training.lab.finding import Finding, Row
from training.lab.rehearsal import rehearse
from training.recipe import Batch, Phase, Recipe, Sgd, Terms

RATE = 0.1
ITERATIONS = 200
Updates = Literal["simultaneous", "alternating"]


class Nothing:
    """A ``Source`` of batches that nobody looks at."""

    device = torch.device("cpu")

    def batch(self, k: int) -> Batch:
        """Two numbers."""
        return Batch(torch.zeros(2, 1))


class Player(nn.Module):
    """One number."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self) -> Tensor:
        """The number."""
        return self.at


class Bilinear(Recipe):
    """Both players, and ``path``: where they were before each iteration."""

    generator: Player

    def __init__(self, updates: Updates) -> None:
        super().__init__()
        self.generator, self.discriminator = Player(1.0), Player(0.0)
        self.joined = updates == "simultaneous"
        self.path: list[tuple[float, float]] = []

    def phases(self) -> tuple[Phase, ...]:
        """As of ``recipes/gan.py``: first D climbs, then G descends."""
        d = Phase("d", self.discriminator, self.d_loss, Sgd(lr=RATE), joined=self.joined)
        return d, Phase("g", self.generator, self.g_loss, Sgd(lr=RATE))

    def d_loss(self, batch: Batch, images: int) -> Terms:
        """-x y."""
        self.path.append((self.generator.at.item(), self.discriminator.at.item()))
        return {"value": -self.generator() * self.discriminator()}

    def g_loss(self, batch: Batch, images: int) -> Terms:
        """The value x y itself."""
        return {"value": self.generator() * self.discriminator()}


def play(updates: Updates, iterations: int = ITERATIONS) -> list[tuple[float, float]]:
    """(x, y) before each iteration of the trainer's own loop, from (1, 0)."""
    recipe = Bilinear(updates)
    schedule = ScheduleConfig(
        kimg=iterations * 2 / 1000, batch=2, ema_kimg=0, tick_kimg=1000, precision="float32"
    )
    rehearse(recipe, Nothing(), schedule)
    return recipe.path


def conserved(x: float, y: float) -> float:
    """x^2 + y^2 + rate x y: constant under alternating updates, y's before x's."""
    return x * x + y * y + RATE * x * y


def experiment(seeds: int) -> Finding:
    """Both kinds of update, from the same start."""
    paths = {kind: play(kind) for kind in ("simultaneous", "alternating")}
    growth = math.sqrt(1 + RATE**2)
    rows: list[Row] = [
        {
            "iteration": k,
            "simultaneous: radius": math.hypot(*paths["simultaneous"][k]),
            "closed form": growth**k,
            "alternating: radius": math.hypot(*paths["alternating"][k]),
            "alternating: conserved": conserved(*paths["alternating"][k]),
        }
        for k in (0, 1, 10, 50, 100, ITERATIONS - 1)
    ]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (kind, path), colour in zip(paths.items(), ("C3", "C0"), strict=True):
        left.plot(*zip(*path, strict=True), color=colour, linewidth=1, label=kind)
        right.plot([math.hypot(*point) for point in path], color=colour, label=kind)
    left.plot([0], [0], "k+", label="equilibrium")
    left.set(xlabel="x, descends", ylabel="y, climbs", aspect="equal")
    right.plot([growth**k for k in range(ITERATIONS)], "k:", label="(1 + rate²)^(k/2)")
    right.set(xlabel="iteration", ylabel="distance from the equilibrium", ylim=(0, None))
    left.legend(fontsize="small")
    right.legend(fontsize="small")
    return Finding(
        claim="On x y, simultaneous gradient steps move away from the equilibrium, by "
        "sqrt(1 + rate^2) each; alternating ones stay on an ellipse around it "
        "(Gidel et al. 2019, arXiv:1802.10551, proposition 1).",
        protocol=f"The trainer's loop, plain gradient steps of {RATE}, {ITERATIONS} iterations "
        "from (1, 0).",
        rows=rows,
        figure=figure,
    )
