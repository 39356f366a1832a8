"""The experiments: an explicit table from a name to what it shows and how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from training.lab import (
    bilinear,
    categories,
    modes,
    optimal_discriminator,
    plateau,
    stacked,
    two_modes,
    vanishing,
)
from training.lab.finding import Finding


@dataclass(frozen=True)
class Experiment:
    """What can be run.

    Args:
        run: takes how many seeds; ``seeded`` tells whether they matter.
        about: one line.
        takes: on two cores, with one seed.
        seeded: whether the outcome is a matter of chance.
    """

    run: Callable[[int], Finding]
    about: str
    takes: str
    seeded: bool = False


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "optimal-discriminator": Experiment(
            optimal_discriminator.experiment, "D learns p / (p + q); its loss tells JSD", "seconds"
        ),
        "log-2-plateau": Experiment(
            plateau.experiment, "JSD is log 2 on disjoint supports, however far apart", "seconds"
        ),
        "vanishing-gradient": Experiment(
            vanishing.experiment, "minimax gives G no slope once D is good", "seconds"
        ),
        "two-modes": Experiment(
            two_modes.experiment, "KL covers two modes, reverse KL picks one", "seconds"
        ),
        "bilinear": Experiment(
            bilinear.experiment,
            "simultaneous updates spiral out, alternating ones do not",
            "seconds",
        ),
        "ring": Experiment(
            modes.EXPERIMENTS["ring"],
            "8 modes on a circle, by objective",
            "a quarter of an hour",
            seeded=True,
        ),
        "grid": Experiment(
            modes.EXPERIMENTS["grid"],
            "25 modes on a grid, by objective",
            "a quarter of an hour",
            seeded=True,
        ),
        "stacked-mnist": Experiment(
            stacked.experiment, "1,000 modes: three digits as colours", "half an hour", seeded=True
        ),
        "minibatch": Experiment(
            stacked.minibatch,
            "more modes where D sees several pictures at once",
            "half an hour",
            seeded=True,
        ),
        "dcgan-categories": Experiment(
            categories.experiment,
            "one category works, many do worse: does their texture too?",
            "minutes",
            seeded=True,
        ),
    }
)
