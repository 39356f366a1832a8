"""Which modes of a ring or a grid does a GAN find, by objective? After PacGAN, table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.errors import Diverged
from training.lab.finding import DIVERGED, Finding, Row, of_those_left
from training.lab.mixtures import Mixture, grid, ring
from training.lab.pairs import HIDDEN, LAYERS, PAIR_BATCH, SAMPLES, train_on
from training.metrics.modes import Modes, modes_of_points
from training.recipe import Adam
from training.recipes.gan import ObjectiveConfig

ITERATIONS = 12_000
ADAM = Adam(lr=2e-3, beta1=0.0, beta2=0.99, decay_from=0.2)
GAME = ObjectiveConfig(latent=2, g_optimizer=ADAM, d_optimizer=ADAM)
OBJECTIVES: Mapping[str, ObjectiveConfig] = MappingProxyType(
    {
        "non-saturating": GAME,
        "non-saturating, simultaneous": GAME.model_copy(update={"updates": "simultaneous"}),
        "minimax": GAME.model_copy(update={"objective": "minimax"}),
        "maximum likelihood": GAME.model_copy(update={"objective": "maximum_likelihood"}),
        "relativistic, R1 + R2": GAME.model_copy(
            update={"objective": "relativistic", "r1": 0.1, "r2": 0.1}
        ),
    }
)
# Lin et al. 2018 (arXiv:1712.04086), table 1: means and standard errors of 10 trials. By its code G
# has four layers of 400 with batch norm, D three of 200 with maxout, and Adam 1e-4.
PUBLISHED_ITERATIONS = 400_000
PUBLISHED = {
    "ring": (
        ("GAN", "6.3 ± 0.5", "98.2 ± 0.2", "0.45 ± 0.09"),
        ("ALI", "6.6 ± 0.3", "97.6 ± 0.4", "0.36 ± 0.04"),
        ("PacGAN2", "7.9 ± 0.1", "95.6 ± 2.0", "0.07 ± 0.03"),
        ("PacGAN4", "7.8 ± 0.1", "95.9 ± 1.4", "0.07 ± 0.02"),
    ),
    "grid": (
        ("GAN", "17.3 ± 0.8", "94.8 ± 0.7", "0.70 ± 0.07"),
        ("ALI", "24.1 ± 0.4", "95.7 ± 0.6", "0.14 ± 0.03"),
        ("PacGAN2", "23.8 ± 0.7", "91.3 ± 0.8", "0.13 ± 0.04"),
        ("PacGAN4", "24.8 ± 0.2", "93.6 ± 0.6", "0.04 ± 0.01"),
    ),
}


def experiment(
    name: str, seeds: int, iterations: int = ITERATIONS, games: Sequence[str] = tuple(OBJECTIVES)
) -> Finding:
    """Every objective on the ``ring`` or the ``grid``, ``seeds`` pairs each.

    Args:
        name: ring or grid.
        seeds: pairs, each from weights of its own.
        iterations: of each.
        games: keys of OBJECTIVES.
    """
    mixture = ring() if name == "ring" else grid()
    rows, clouds = [], {}
    for game in games:
        found = _clouds(mixture, OBJECTIVES[game], seeds, iterations)
        if len(found):
            clouds[game] = found
            rows.append(_summary(f"ours: {game}", mixture, found, seeds))
        else:
            rows.append(_row(f"ours: {game}", DIVERGED, "", ""))
    random = np.random.default_rng(0)
    perfect = np.stack([mixture.sample(SAMPLES, random) for _ in range(max(5, seeds))])
    rows.append(_summary("perfect sampler", mixture, perfect, len(perfect)))
    rows += [_row(f"published: {who}", *cells) for who, *cells in PUBLISHED[name]]
    return Finding(
        claim=f"A GAN may leave modes out: {len(mixture.centres)} Gaussians of deviation "
        f"{mixture.sigma}, after Lin et al. 2018 (arXiv:1712.04086), table 1.",
        protocol=f"Perceptrons with {LAYERS} hidden layers of {HIDDEN}, {ADAM.kind} {ADAM.lr}, "
        f"betas {ADAM.beta1:g} and {ADAM.beta2}, linear decay from {ADAM.decay_from:g} of "
        f"{iterations:,} iterations of {PAIR_BATCH} points (the paper's code: "
        f"{PUBLISHED_ITERATIONS:,} of 100), averaged weights; {seeds} seeds, median (least to "
        f"greatest); {SAMPLES:,} samples, of high quality within 3 deviations of a centre; a mode "
        "needs one such sample; KL(generated || uniform) of all samples by nearest centre.",
        rows=rows,
        figure=_draw(mixture, clouds),
        images_seen=iterations * PAIR_BATCH * seeds,
    )


EXPERIMENTS = {name: partial(experiment, name) for name in PUBLISHED}


def _clouds(
    mixture: Mixture, game: ObjectiveConfig, seeds: int, iterations: int
) -> NDArray[np.float64]:
    """Samples [S, N, 2] of the pairs that come to their end; where one does not, each is alone."""
    with suppress(Diverged):
        return train_on(mixture, game, seeds, iterations)
    found: list[NDArray[np.float64]] = []
    for seed in range(seeds if seeds > 1 else 0):
        with suppress(Diverged):
            found.extend(train_on(mixture, game, 1, iterations, seed))
    return np.array(found)


def _summary(who: str, mixture: Mixture, clouds: NDArray[np.float64], seeds: int) -> Row:
    """The median of the clouds [S, N, 2], and their range."""
    found = [modes_of_points(cloud, mixture.centres, mixture.sigma) for cloud in clouds]
    return _row(
        who,
        of_those_left(_median([m.found for m in found], "g"), len(found), seeds),
        _median([100 * _quality(m) for m in found], ".1f"),
        _median([m.reverse_kl for m in found], ".3f"),
    )


def _quality(modes: Modes) -> float:
    assert modes.high_quality is not None  # points have it
    return modes.high_quality


def _median(values: Sequence[float], form: str) -> str:
    middle, least, most = np.median(values), min(values), max(values)
    text = f"{middle:{form}}"
    return text if len(values) == 1 else f"{text} ({least:{form}} to {most:{form}})"


def _row(who: str, modes: str, quality: str, divergence: str) -> Row:
    return {"who": who, "modes": modes, "high quality, %": quality, "reverse KL": divergence}


def _draw(mixture: Mixture, clouds: Mapping[str, NDArray[np.float64]]) -> Figure:
    """The samples of the first pair of every objective, over the true centres."""
    figure = Figure(figsize=(3.4 * max(1, len(clouds)), 3.6), layout="constrained")
    half = 1.15 * float(np.abs(mixture.centres).max())
    for axes, (name, cloud) in zip(
        figure.subplots(1, max(1, len(clouds)), squeeze=False)[0], clouds.items(), strict=False
    ):
        axes.plot(*mixture.centres.T, "o", mfc="none", mec="0.7", markersize=12)
        axes.plot(*cloud[0].T, "C3.", markersize=1.5, alpha=0.4)
        axes.set(title=name, aspect="equal", xlim=(-half, half), ylim=(-half, half))
    return figure
