"""The discriminator that learns to the end is p / (p + q), and its loss tells the divergence."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from training.lab.critic import POINTS, learn
from training.lab.finding import Finding, Row
from training.lab.gaussian import Gaussian
from training.losses import minimax_d
from training.metrics.divergence import jensen_shannon, jensen_shannon_of_loss

REAL = Gaussian(0.0)
FAKE_DEVIATION = 0.5
GAPS = (0.0, 1.0, 2.0, 3.0, 5.0)
STEP = 0.001
STEPS = 600
FINE = 20_000  # quantiles that the losses are taken over in the end


def experiment(seeds: int) -> Finding:
    """Two Gaussians, ever further apart."""
    x = torch.arange(-8.0, 12.0, STEP, dtype=torch.float64)
    rows: list[Row] = []
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for gap in GAPS:
        fake = Gaussian(gap, FAKE_DEVIATION)
        p, q = REAL.density(x).numpy(), fake.density(x).numpy()
        critic = learn(REAL.quantiles(POINTS), fake.quantiles(POINTS), STEPS)
        reals, fakes = REAL.quantiles(FINE), fake.quantiles(FINE)
        best = minimax_d(*(REAL.log_density(y) - fake.log_density(y) for y in (reals, fakes)))
        learnt = _probability(critic, x)
        with torch.no_grad():
            reached = minimax_d(critic(reals), critic(fakes))
        weight = (p + q) / 2
        error = float((weight * np.abs(learnt - p / (p + q))).sum() * STEP)
        rows.append(
            {
                "distance": gap,
                "JSD by quadrature": jensen_shannon(p, q, STEP),
                "from optimal D": jensen_shannon_of_loss(best.item()),
                "from learnt D": jensen_shannon_of_loss(reached.item()),
                "mean |D - D*|": error,
            }
        )
        if gap == 2.0:
            _draw(left, x.numpy(), p, q, learnt)
    _compare(right, rows)
    return Finding(
        claim="The best discriminator is D* = p / (p + q), and its loss is log 4 - 2 JSD "
        "(Goodfellow et al. 2014, arXiv:1406.2661, proposition 1 and theorem 1).",
        protocol=f"p = N(0, 1), q = N(distance, {FAKE_DEVIATION}^2); quadrature with step {STEP}; "
        f"D: 1-32-32-1, tanh, {STEPS} Adam steps on {POINTS} quantiles of each; "
        f"losses over {FINE:,}.",
        rows=rows,
        figure=figure,
    )


@torch.no_grad()
def _probability(critic: nn.Module, x: torch.Tensor) -> NDArray[np.float64]:
    probability: NDArray[np.float64] = critic(x.float()).sigmoid().double().numpy()
    return probability


def _draw(
    axes: Axes,
    x: NDArray[np.float64],
    p: NDArray[np.float64],
    q: NDArray[np.float64],
    learnt: NDArray[np.float64],
) -> None:
    axes.fill_between(x, p, alpha=0.3, label="p, real")
    axes.fill_between(x, q, alpha=0.3, label="q, generated")
    axes.plot(x, p / (p + q), "k", label="D* = p / (p + q)")
    axes.plot(x, learnt, "C3--", label="D, learnt")
    axes.set(xlim=(-4, 5), xlabel="x", title="Distance 2")
    axes.legend(fontsize="small")


def _compare(axes: Axes, rows: list[Row]) -> None:
    at = [row["distance"] for row in rows]
    axes.plot(at, [row["JSD by quadrature"] for row in rows], "k", label="quadrature")
    axes.plot(at, [row["from optimal D"] for row in rows], "C0o", label="loss of D*")
    axes.plot(at, [row["from learnt D"] for row in rows], "C3x", label="loss of the learnt D")
    axes.axhline(np.log(2), color="grey", linestyle=":", label="log 2")
    axes.set(xlabel="distance of the means", title="Jensen-Shannon divergence, nats")
    axes.legend(fontsize="small")
