"""The figures of a diagnosis: arrays in, a figure out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from sklearn.manifold import TSNE

from training.data.dataset import Images
from training.diagnose.modes import Features, Mode
from training.diagnose.neighbours import Nearest
from training.grid import sheet

EMBEDDED = 400  # points of each kind: t-SNE takes seconds
PAIRS = 16


def embedding(real: Features, generated: Features) -> Figure:
    """t-SNE (van der Maaten & Hinton 2008) of real and generated pictures together.

    Distances between clusters say nothing; a cluster of one colour does.
    """
    each = min(EMBEDDED, len(real), len(generated))
    rows = np.concatenate([real[:each], generated[:each]]).astype(np.float32)
    perplexity = min(30.0, (len(rows) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(rows)
    figure = Figure(figsize=(6, 5.4), layout="constrained")
    axes = figure.subplots()
    for part, name, style in ((places[:each], "real", "C0o"), (places[each:], "generated", "C3o")):
        axes.plot(part[:, 0], part[:, 1], style, markersize=3, alpha=0.6, label=name)
    axes.set(xticks=[], yticks=[])
    axes.legend(fontsize="small")
    return figure


def mode_shares(modes: Sequence[Mode]) -> Figure:
    """Of every kind of real picture, how many are real and how many generated."""
    rows = sorted(modes, key=lambda mode: (mode.share - mode.real_share, mode.name))
    at = np.arange(len(rows))
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.bar(at - 0.2, [mode.real_share for mode in rows], 0.4, color="C0", label="real")
    axes.bar(at + 0.2, [mode.share for mode in rows], 0.4, color="C3", label="generated")
    axes.set_xticks(at, [mode.name for mode in rows], rotation=60, ha="right", fontsize="small")
    for tick, mode in zip(axes.get_xticklabels(), rows, strict=True):
        tick.set_color("C3" if mode.missing else "black")
    axes.set_ylabel("share")
    axes.legend(fontsize="small")
    return figure


def spectrum(real: Images, generated: Images) -> Figure:
    """Mean power by spatial frequency: a bend at the right end is noise, or blur.

    Durall et al. 2020 (arXiv:2003.01826): upsampling shows there.
    """
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for pictures, name, colour in ((real, "real", "C0"), (generated, "generated", "C3")):
        frequency, power = radial_power(pictures)
        axes.semilogy(frequency, power, f"{colour}.-", label=name)
    axes.set(xlabel="cycles per pixel", ylabel="power")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def radial_power(pictures: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies in (0, 0.5] and the mean power there, of grey versions of uint8 [N, H, W, C].

    Of white noise of variance v, v at every frequency.
    """
    grey = pictures.astype(np.float64).mean(axis=3) / 127.5 - 1
    side = grey.shape[1]
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(grey)) ** 2).mean(axis=0) / grey[0].size
    cycles = np.fft.fftfreq(side)
    ring = np.rint(np.hypot(*np.meshgrid(cycles, cycles)) * side).astype(np.int64)
    counted = np.arange(1, side // 2 + 1)
    return counted / side, np.array([power[ring == k].mean() for k in counted])


def neighbour_pairs(pictures: Images, found: Nearest, training: Images) -> Image.Image:
    """Generated pictures over the training pictures nearest to them, the nearest pair first."""
    order = np.argsort(found.distance, kind="stable")
    shown = order[np.linspace(0, len(order) - 1, min(PAIRS, len(order))).astype(np.int64)]
    rows = np.concatenate([pictures[shown], training[found.rows[shown]]])
    captions = [*(f"{found.distance[k]:.1f}" for k in shown), *[""] * len(shown)]
    return sheet(rows, len(shown), scale=_scale(pictures), captions=captions)


def strips(pictures: Images, columns: int) -> Image.Image:
    """Interpolations, one a row."""
    return sheet(pictures, columns, scale=_scale(pictures))


def examples(modes: Sequence[Mode], training: Images) -> Image.Image | None:
    """A real picture of each kind that is never made; None where none is missing."""
    missing = [mode for mode in modes if mode.missing]
    if not missing:
        return None
    rows = training[[mode.example for mode in missing]]
    names = [mode.name for mode in missing]
    return sheet(rows, 10, scale=_scale(training), captions=names)


def _scale(pictures: Images) -> int:
    """So that a picture is about 64 pixels wide."""
    return max(1, 64 // int(pictures.shape[2]))
