"""One Gaussian fitted to two modes: KL(p || q) covers both, KL(q || p) picks one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from training.lab.finding import Finding, Row
from training.lab.gaussian import Gaussian

CENTRE, DEVIATION, SHARE = 2.0, 0.5, 0.7  # modes at -2 and 2; the share is of the left one
STEP = 0.01
X = torch.arange(-10.0, 10.0, STEP, dtype=torch.float64)
LOG_P = (
    SHARE * Gaussian(-CENTRE, DEVIATION).density(X)
    + (1 - SHARE) * Gaussian(CENTRE, DEVIATION).density(X)
).log()
Loss = Callable[[Gaussian], Tensor]


def forward_kl(q: Gaussian) -> Tensor:
    """KL(p || q), what maximum likelihood minimises."""
    return (LOG_P.exp() * (LOG_P - q.log_density(X))).sum() * STEP


def reverse_kl(q: Gaussian) -> Tensor:
    """KL(q || p)."""
    log_q = q.log_density(X)
    return (log_q.exp() * (log_q - LOG_P)).sum() * STEP


def fit(loss: Loss, start: float) -> Gaussian:
    """The Gaussian that minimises ``loss``, from N(start, 1), by L-BFGS."""
    mean = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    log_deviation = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [mean, log_deviation], max_iter=200, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(Gaussian(mean, log_deviation.exp()))
        torch.autograd.backward(value)
        return value.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Gaussian(mean.detach(), log_deviation.detach().exp())


class Known(NamedTuple):
    """The best Gaussian, and how far from p it is."""

    mean: float
    deviation: float
    divergence: float


def expected(loss: Loss, start: float) -> Known:
    """The best Gaussian: exactly forwards; backwards for modes that do not touch.

    Forwards it has the moments of p. Backwards it is the mode that it started at, and pays for
    the share of that mode alone: -log of it.
    """
    if loss is forward_kl:
        mean = CENTRE * (1 - 2 * SHARE)
        deviation = math.sqrt(DEVIATION**2 + CENTRE**2 - mean**2)
        return Known(mean, deviation, forward_kl(Gaussian(mean, deviation)).item())
    share = SHARE if start < 0 else 1 - SHARE
    return Known(math.copysign(CENTRE, start), DEVIATION, -math.log(share))


def experiment(seeds: int) -> Finding:
    """Both divergences, from both sides."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(X, LOG_P.exp(), color="grey", alpha=0.3, label="p")
    rows: list[Row] = []
    for name, loss, start, colour in (
        ("KL(p || q)", forward_kl, -CENTRE, "C0"),
        ("KL(p || q)", forward_kl, CENTRE, "C0"),
        ("KL(q || p)", reverse_kl, -CENTRE, "C3"),
        ("KL(q || p)", reverse_kl, CENTRE, "C1"),
    ):
        q, known = fit(loss, start), expected(loss, start)
        rows.append(
            {
                "minimised": name,
                "from": start,
                "divergence": loss(q).item(),
                "known": known.divergence,
                "mean": float(q.mean),
                "known mean": known.mean,
                "deviation": float(q.deviation),
                "known deviation": known.deviation,
            }
        )
        if not (loss is forward_kl and start > 0):  # the same curve from there
            label = name if loss is forward_kl else f"{name}, from {start:g}"
            axes.plot(X, q.density(X), colour, label=label)
    axes.set(xlim=(-6, 6), xlabel="x", ylabel="density")
    axes.legend(fontsize="small")
    return Finding(
        claim="KL(p || q) puts q where p is, between the modes too; KL(q || p) keeps q from where "
        "p is not, and leaves a mode out (Goodfellow 2016, arXiv:1701.00160, figure 14).",
        protocol=f"p = {SHARE} N(-{CENTRE:g}, {DEVIATION}^2) + {1 - SHARE:g} N({CENTRE:g}, "
        f"{DEVIATION}^2), quadrature with step {STEP}, L-BFGS from N(start, 1).",
        rows=rows,
        figure=figure,
    )
