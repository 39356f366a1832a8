"""The table of ``bench.quality --all``, as data: what is measured, and what stands beside it.

A preset whose name ends in ``-fast`` is in the table by itself, with the lines of what it does; an
entry in ``JOBS`` gives it others, or adds a preset or an experiment: one line each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from bench.baselines import NAME as GAUSSIAN
from training.config import preset_names

Better = Literal["more", "less"]


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Args:
        metric: as the measure names it.
        better: more of it, or less.
        bar: ``baseline``: a plain one, measured in the same run; ``reference``: what the figure's
            own protocol has beside it; a number: published, or asked for.
        beside: what the bar is.
    """

    metric: str
    better: Better
    bar: float | Literal["baseline", "reference"]
    beside: str


@dataclass(frozen=True)
class Job:
    """A preset, or an experiment, and its lines; none are those of what its bundle does.

    Args:
        measure: a key of ``bench.measures.MEASURES``.
        lines: of the table.
        data: of the experiment; a preset knows its own.
        seeds: runs of it, or as many as are asked for when these are more.
    """

    measure: str = "bundle"
    lines: tuple[Line, ...] = ()
    data: str = ""
    seeds: int = 1


GENERATED = (
    Line("FD-judge", "less", "baseline", GAUSSIAN),
    Line("coverage", "more", "baseline", GAUSSIAN),
)
CONDITIONED = (
    Line("label agreement", "more", 0.90, "asked for"),
    Line("GAN-train", "more", "baseline", f"{GAUSSIAN} of each class"),
    Line("FD-judge", "less", "baseline", f"{GAUSSIAN} of each class"),
    Line("coverage", "more", "baseline", f"{GAUSSIAN} of each class"),
)
CODED = (Line("squared error", "less", "reference", "PCA with as many numbers"),)
SCORED = (Line("mean AUROC of 10 digits", "more", "baseline", "PCA with as many numbers"),)
PAIRED = (
    Line("of the better baseline", "less", 0.65, "asked for: L1, of the mean's or the input's"),
    Line("KD-lite0", "less", "baseline", "the better of the mean picture and the input"),
)
DOMAINS = tuple(
    Line(f"KD-lite0, {way}", "less", "baseline", "the better of the mean picture and the input")
    for way in ("openmoji to fluent", "fluent to openmoji")
)
TOLD = (
    Line("retrieval, seen captions", "more", 0.1, "asked for: five times chance"),
    Line("retrieval, new compositions", "more", "reference", "real pictures"),
)
NATS = (Line("-ELBO, nats", "less", 105.6, "published, second-hand: PyTorch's example"),)
STACKED = (
    Line("modes of 1,000", "more", 1000, "published: R3GAN's loss (arXiv:2501.05441)"),
    Line("reverse KL", "less", 0.0781, "published: R3GAN's loss (arXiv:2501.05441)"),
)
PACGAN4 = "published: PacGAN4 (arXiv:1712.04086)"
RING = (
    Line("modes", "more", 7.8, PACGAN4),
    Line("high quality, %", "more", 95.9, PACGAN4),
    Line("reverse KL", "less", 0.07, PACGAN4),
)
GRID = (
    Line("modes", "more", 24.8, PACGAN4),
    Line("high quality, %", "more", 93.6, PACGAN4),
    Line("reverse KL", "less", 0.04, PACGAN4),
)

JOBS: Mapping[str, Job] = MappingProxyType(
    {
        "ebgan-mnist-fast": Job("anomaly", SCORED, seeds=3),
        "vae-mnist-reference": Job("bound", NATS),
        "autoencoder-blocks-linear": Job(lines=CODED),
        "autoencoder-fashion-fast": Job(lines=CODED),  # it has no distribution to draw from
        "pix2pix-emoji-fast": Job("pairs", PAIRED),
        "pix2pix-seeking-fast": Job("pairs", PAIRED),
        "unpaired-emoji-fast": Job("domains", DOMAINS),
        "text-emoji-fast": Job("text", TOLD),
        "stacked-mnist": Job("lab", STACKED, "stacks of MNIST"),
        "ring": Job("lab", RING, "8 Gaussians", seeds=5),
        "grid": Job("lab", GRID, "25 Gaussians", seeds=5),
    }
)


def jobs() -> dict[str, Job]:
    """Every fast preset and every other entry, longest first as far as is known."""
    fast = {name: Job() for name in preset_names() if name.endswith("-fast")}
    found = fast | dict(JOBS)
    first = ("stacked-mnist", "text-emoji-fast", "pix2pix-seeking-fast", "unpaired-emoji-fast")
    return {name: found[name] for name in dict.fromkeys((*first, *found))}
