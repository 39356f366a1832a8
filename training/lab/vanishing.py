"""The better D, the smaller the slope of the minimax cost of G, and not of the other one."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from training.lab.critic import POINTS, learn
from training.lab.finding import Cell, Finding, Row
from training.lab.gaussian import Gaussian, levels
from training.losses import minimax_g, nonsaturating_g

STEPS = 4_000
WATCHED = (0, 10, 30, 100, 300, 1_000, 2_000, 4_000)
SHIFT = 2.0
FINE = 20_000  # quantiles where D does not have to learn
DISTANCES = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def experiment(seeds: int) -> Finding:
    """G is a shift; its two slopes as D learns, and with the best D."""
    learning = slopes_while_learning()
    best = slopes_at_the_best()
    return Finding(
        claim="As D nears its optimum the slope of the minimax cost log(1 - D(G(z))) goes to zero, "
        "by up to five decades in 4,000 steps (Arjovsky & Bottou 2017, arXiv:1701.04862, figure "
        "2), that of -log D(G(z)) does not. With the best D of N(0, 1) and N(d, 1) they are "
        "d E[D*] and d - d E[D*].",
        protocol=f"While D learns: real U[0, 1], generated U[{SHIFT:g}, {SHIFT + 1:g}], D: 1-32-32-"
        f"1, tanh, Adam on {POINTS} quantiles of each. At the best D: autograd through the losses "
        "against quadrature.",
        rows=[*learning, *best],
        figure=_draw(learning, best),
    )


def slopes_while_learning(steps: int = STEPS) -> list[Row]:
    """The slopes on disjoint supports, at some of D's steps."""
    real = levels(POINTS).float()
    rows: list[Row] = []

    def watch(step: int, critic: nn.Module) -> None:
        if step in WATCHED:
            minimax, nonsaturating = slopes(critic, real + SHIFT)
            rows.append(_row("D after steps", step, minimax, nonsaturating, ""))

    learn(real, real + SHIFT, steps, watch)
    return rows


def slopes_at_the_best() -> list[Row]:
    """The slopes with the optimal D of two unit Gaussians, by their distance."""
    x = torch.arange(-12.0, 18.0, 0.001, dtype=torch.float64)
    rows: list[Row] = []
    for distance in DISTANCES:
        real, fake = Gaussian(0.0), Gaussian(distance)

        class Best(nn.Module):
            def forward(self, y: Tensor, gap: float = distance) -> Tensor:
                return gap * (gap / 2 - y)  # log p / q

        p, q = real.density(x), fake.density(x)
        expected = distance * float((p * q / (p + q)).sum() * 0.001)
        minimax, nonsaturating = slopes(Best(), fake.quantiles(FINE))
        rows.append(_row("best D, distance", distance, minimax, nonsaturating, expected))
    return rows


def slopes(critic: nn.Module, fake: Tensor) -> tuple[float, float]:
    """|d cost / d shift| of the minimax and of the non-saturating cost, D standing still."""
    found = []
    for cost in (minimax_g, nonsaturating_g):
        shift = torch.zeros((), requires_grad=True)
        (slope,) = torch.autograd.grad(cost(critic(fake + shift)), shift)
        found.append(abs(slope.item()))
    return found[0], found[1]


def _row(kind: str, at: float, minimax: float, nonsaturating: float, expected: Cell) -> Row:
    return {
        "what": kind,
        "at": at,
        "minimax": minimax,
        "non-saturating": nonsaturating,
        "minimax, closed form": expected,
    }


def _draw(learning: list[Row], best: list[Row]) -> Figure:
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axes, rows, title in zip(
        figure.subplots(1, 2),
        (learning, best),
        ("Steps of D, supports apart", "Distance of two unit Gaussians, best D"),
        strict=True,
    ):
        at = [row["at"] for row in rows]
        for name, style in (("minimax", "C3o-"), ("non-saturating", "C0o-")):
            axes.plot(at, [row[name] for row in rows], style, label=name)
        axes.set(yscale="log", xlabel=title, ylabel="|slope| of the cost of G")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        if rows is learning:
            axes.set_xscale("symlog", linthresh=10)
            axes.set_xlim(left=0)
        else:
            known = [row["minimax, closed form"] for row in rows]
            axes.plot(at, known, "k:", label="minimax, closed form")
            axes.legend(fontsize="small")
    return figure
