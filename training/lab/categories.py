"""A DCGAN that learns one category, and one that learns many: what each gets of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training import data
from training.config import ScheduleConfig
from training.data.batches import Batches
from training.data.cache import cache_folder
from training.data.dataset import Dataset
from training.data.progress import progress_bars
from training.grid import sheet
from training.lab.finding import Finding, Row
from training.lab.rehearsal import rehearse
from training.lab.stacked import samples
from training.metrics.coverage import neighbourhood
from training.metrics.frechet import frechet_distance, gaussian
from training.metrics.judge import Images, Judge, JudgeSettings, train_judge
from training.recipe import Adam, Shape
from training.recipes import dcgan

SETS: Mapping[str, Mapping[str, Sequence[int]]] = MappingProxyType(
    {
        "one: sneakers": {"fashion-mnist-subset": (7,)},
        "three: and trousers, bags": {"fashion-mnist-subset": (7, 1, 8)},
        "ten: all of Fashion-MNIST": {"fashion-mnist-subset": range(10)},
        "twenty: and the digits": {"fashion-mnist-subset": range(10), "mnist-5k": range(10)},
    }
)
LEARNT, ASKED = 1_000, 200  # pictures of each set
KIMG = 60.0
BATCH = 64
SHOWN = 24
PATCH, STEP = 7, 3  # side of a patch, and the way to the next
ADAM = Adam(lr=5e-4, beta1=0.0, beta2=0.99, decay_from=0.5)
PAIR: dict[str, Any] = {"system": "dcgan", "g_optimizer": ADAM, "d_optimizer": ADAM}
GAME = dcgan.DCGANConfig(**PAIR)


def experiment(
    seeds: int, kimg: float = KIMG, sets: Sequence[str] = tuple(SETS), epochs: int = 12
) -> Finding:
    """The same pair, budget and number of pictures for every set."""
    judge = judge_of_all(epochs)
    rows: list[Row] = []
    sheets: dict[str, tuple[Images, Images]] = {}
    for name in sets:
        known, asked = (mixed(SETS[name], part, count) for part, count in PARTS)
        found = []
        for seed in range(seeds):
            made = learnt(known, seed, kimg)
            sheets.setdefault(name, (known.images[:SHOWN], made[:SHOWN]))
            found.append(compared(judge, asked.images, made))
        ceiling = compared(judge, asked.images, known.images[:ASKED])
        row = {key: float(np.median([one[key] for one in found])) for key in ceiling}
        real = {f"real: {key}": value for key, value in ceiling.items()}
        rows.append({"learnt": name} | row | real)
    return Finding(
        claim="One category works; many at the same budget do worse as pictures. Is their texture "
        "learnt first? Then patches would suffer less than whole pictures do.",
        protocol=f"dcgan with 32 channels, {kimg:g} kimg in batches of {BATCH} of {LEARNT:,} "
        f"pictures, as many of each class; {ASKED} samples against {ASKED} held out: precision and "
        "coverage (k = 5) in the features of one judge of all twenty classes; patches: Frechet "
        f"distance of the pixels of {PATCH} x {PATCH} patches, over their variance. real: the same "
        f"of {ASKED} pictures learnt from. {seeds} seeds, medians.",
        rows=rows,
        figure=_draw(sheets),
    )


PARTS: tuple[tuple[data.Split, int], ...] = (("train", LEARNT), ("test", ASKED))


def mixed(chosen: Mapping[str, Sequence[int]], part: data.Split, count: int) -> Dataset:
    """``count`` pictures, as many of each class, their classes in turn."""
    classes: list[Images] = []
    for source, labels in chosen.items():
        images = data.load(source, split=part)
        assert images.labels is not None  # all of these have them
        classes += [np.asarray(images.images[images.labels == label]) for label in labels]
    pictures = np.stack([classes[k % len(classes)][k // len(classes)] for k in range(count)])
    return Dataset("mixed", "", "", (), pictures, None, "")


def judge_of_all(epochs: int) -> Judge:
    """A judge of both sets' classes, trained on all their pictures."""
    sets = [data.load(source) for source in ("fashion-mnist-subset", "mnist-5k")]
    labels = [part.labels + 10 * k for k, part in enumerate(sets) if part.labels is not None]
    with progress_bars() as progress:
        return train_judge(
            np.concatenate([part.images for part in sets]),
            np.concatenate(labels),
            20,
            JudgeSettings(epochs=epochs),
            cache=cache_folder() / "judges",
            progress=progress,
        )


def learnt(known: Dataset, seed: int, kimg: float) -> Images:
    """Samples of a pair that learnt these pictures, [ASKED, H, W, C]."""
    torch.manual_seed(seed)
    schedule = ScheduleConfig(kimg=kimg, batch=BATCH, ema_kimg=kimg / 40, tick_kimg=kimg / 20)
    shape = Shape(known.images.shape[3], known.images.shape[1])
    source = Batches(known, BATCH, seed)
    state = rehearse(next(dcgan.stages(GAME, shape)), source, schedule)
    return samples(state, source, ASKED)


def compared(judge: Judge, real: Images, made: Images) -> dict[str, float]:
    """Whole pictures, in the judge's features; and their texture, patch by patch."""
    near = neighbourhood(judge.look(real).features, judge.look(made).features, 5)
    texture = gaussian(patches(real))
    distance = frechet_distance(texture, gaussian(patches(made)))
    return {
        "precision": near.precision,
        "coverage": near.coverage,
        "patches": distance / float(np.trace(texture.covariance)),
    }


def patches(images: Images) -> NDArray[np.float32]:
    """[N, H, W, C] -> [M, PATCH * PATCH * C]: the patches of all pictures, in [-1, 1]."""
    every = np.lib.stride_tricks.sliding_window_view(images, (PATCH, PATCH), axis=(1, 2))
    taken = every[:, ::STEP, ::STEP].reshape(-1, PATCH * PATCH * images.shape[3])
    return taken.astype(np.float32) / 127.5 - 1


def _draw(sheets: Mapping[str, tuple[Images, Images]]) -> Figure:
    figure = Figure(figsize=(3.2 * len(sheets), 5.2), layout="constrained")
    columns = figure.subplots(2, len(sheets), squeeze=False).T
    for (above, below), (name, pictures) in zip(columns, sheets.items(), strict=True):
        for axes, images, title in zip(
            (above, below), pictures, (f"{name}\nreal", "made"), strict=True
        ):
            axes.imshow(sheet(images, 6), cmap="gray", interpolation="nearest")
            axes.set(title=title, xticks=[], yticks=[])
    return figure
