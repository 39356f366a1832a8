"""Where supports are apart the divergence is log 2, however far: nothing to descend."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure

from training.lab.critic import POINTS, learn
from training.lab.finding import Finding, Row
from training.lab.gaussian import levels
from training.losses import minimax_d
from training.metrics.divergence import jensen_shannon, jensen_shannon_of_loss

SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
CELLS = 1_000  # per unit: every shift is a whole number of them
STEPS = 400


def experiment(seeds: int) -> Finding:
    """Two uniform distributions of length 1, ever further apart."""
    middles = (np.arange(4 * CELLS) + 0.5) / CELLS
    real = levels(POINTS).float()
    rows: list[Row] = []
    for shift in SHIFTS:
        fake = real + shift
        p = (middles < 1).astype(np.float64)
        q = ((middles > shift) & (middles < shift + 1)).astype(np.float64)
        critic = learn(real, fake, STEPS)
        with torch.no_grad():
            loss = minimax_d(critic(real), critic(fake)).item()
        rows.append(
            {
                "shift": shift,
                "JSD, closed form": min(shift, 1.0) * math.log(2),
                "by quadrature": jensen_shannon(p, q, 1 / CELLS),
                "from learnt D": jensen_shannon_of_loss(loss),
                "Wasserstein-1": shift,
            }
        )
    return Finding(
        claim="On disjoint supports the Jensen-Shannon divergence is log 2 whatever their "
        "distance, which the Wasserstein distance still tells (Arjovsky & Bottou 2017, "
        "arXiv:1701.04862, theorem 2.3; Arjovsky et al. 2017, arXiv:1701.07875, example 1).",
        protocol="p = U[0, 1], q = U[shift, shift + 1], whose divergence is min(shift, 1) log 2; "
        f"D: 1-32-32-1, tanh, {STEPS} Adam steps on {POINTS} quantiles of each.",
        rows=rows,
        figure=_draw(rows),
    )


def _draw(rows: list[Row]) -> Figure:
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    at = [row["shift"] for row in rows]
    axes.plot(at, [row["JSD, closed form"] for row in rows], "k", label="JSD, closed form")
    axes.plot(at, [row["from learnt D"] for row in rows], "C3x", label="JSD, from learnt D")
    axes.plot(at, [row["Wasserstein-1"] for row in rows], "C0--", label="Wasserstein-1")
    axes.axhline(math.log(2), color="grey", linestyle=":", label="log 2")
    axes.set(xlabel="shift", ylabel="nats; length", ylim=(-0.05, 1.5))
    axes.legend(fontsize="small")
    return figure
