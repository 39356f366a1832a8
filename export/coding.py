"""What is left of a picture after a bundle has coded it, and what a bundle's score tells apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score

from export.dimension import resolve_shape
from export.manifest import Graph, Image, Latent, Manifest, Quality, VectorOutput
from export.reality import Labelled, Reality, balanced, spread
from export.rows import Run, chosen_rows
from training.data.dataset import Images
from training.data.progress import Progress, silent
from training.metrics.reconstruction import psnr_db

FITTED = 25_000_000  # pixels that PCA is fitted on: all but the largest data
SCORE_NUMBERS = 32  # of PCA beside a score
CHUNK = 32

Floats = NDArray[np.float64]


def code_and_latent(manifest: Manifest) -> tuple[VectorOutput, Latent] | None:
    """The code that ``encode`` gives and ``generate`` takes; None where the two do not fit."""
    if not {"encode", "generate"} <= manifest.tasks.keys():
        return None
    code = next(o for o in manifest.graph("encode").outputs if isinstance(o, VectorOutput))
    latents = manifest.graph("generate").latents
    fits = len(latents) == 1 and latents[0].shape == code.shape
    return (code, latents[0]) if fits else None


def image_of(graph: Graph) -> Image | None:
    """The picture that a graph takes, if it takes one and no text."""
    images = [entry for entry in graph.inputs if isinstance(entry, Image)]
    others = any(entry.role == "text" for entry in graph.inputs)
    return images[0] if len(images) == 1 and not others else None


def answers(graph: Graph, run: Run, images: Images, output: str, label: int = 0) -> NDArray[Any]:
    """What a graph that takes pictures makes of each of them; picture k has seed k."""
    entry = image_of(graph)
    assert entry is not None  # as whoever asks has seen
    parts = []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        levels = np.moveaxis(chunk.astype(np.float32) / 255, 3, 1)
        seeds = range(start, start + len(chunk))
        given = {entry.name: entry.low + (entry.high - entry.low) * levels}
        labels = [label] * len(chunk)
        rows = chosen_rows(graph.inputs, seeds, *chunk.shape[1:3], labels=labels, given=given)
        parts.append(run(rows)[output])
    return np.concatenate(parts)


def reconstruction(
    manifest: Manifest, encode: Run, generate: Run, reality: Reality, progress: Progress = silent
) -> Iterator[Quality]:
    """Squared error and PSNR of held-out pictures after encode and generate, beside PCA's."""
    pair = code_and_latent(manifest)
    assert pair is not None  # as whoever asks has seen
    code, latent = pair
    graph, images = manifest.graph("generate"), reality.test.images
    codes = answers(manifest.graph("encode"), encode, images, code.name)
    output = next(o.name for o in graph.outputs if o.kind == "image")
    found = []
    for start in range(0, len(images), CHUNK):
        given = {latent.name: codes[start : start + CHUNK]}
        count = len(given[latent.name])
        seeds, labels = range(start, start + count), [0] * count
        rows = chosen_rows(graph.inputs, seeds, *images.shape[1:3], labels=labels, given=given)
        found.append(generate(rows)[output])
        progress("reconstructions", start + count, len(images))
    made = np.concatenate(found)
    numbers = math.prod(resolve_shape(code.shape, *images.shape[1:3]))
    error = float(np.square((made.astype(np.float64) - images) / 255).mean())
    known = fitted_on(reality.learnt)
    linear = pca_errors(known, reality.test, numbers, clipped=True)
    optimum = None if linear is None else float(linear.mean())
    protocol = (
        f"{len(images)} {reality.kind} through encode and generate, {numbers} numbers each; pixels "
        f"in [0, 1]; reference: PCA with {numbers} numbers, fitted on {len(known)} training images"
        ", clipped likewise"
    )
    counts = {"samples": len(images), "protocol": protocol}
    yield Quality(metric="squared error", value=error, reference=optimum, **counts)
    reference = -10 * math.log10(optimum) if optimum else None
    yield Quality(metric="PSNR, dB", value=psnr_db(made, images), reference=reference, **counts)


def fitted_on(learnt: Labelled) -> Labelled:
    """Training images for PCA, evenly from all of them where they are too many."""
    pixels = int(np.prod(learnt.images.shape[1:]))
    return spread(learnt, min(len(learnt), max(FITTED // pixels, 1_000)))


def pca_errors(
    known: Labelled, asked: Labelled, numbers: int, *, clipped: bool = False
) -> Floats | None:
    """The squared error of each picture asked, by PCA of the known; None with too few of these.

    ``clipped``: to what a picture can show, as every decoder's pictures are; on Fashion-MNIST 4 %.
    """
    pixels = [part.images.reshape(len(part), -1) / 255 for part in (known, asked)]
    if numbers > min(pixels[0].shape):
        return None
    axes = PCA(numbers, svd_solver="covariance_eigh").fit(pixels[0])
    made = axes.inverse_transform(axes.transform(pixels[1]))
    made = made.clip(0, 1) if clipped else made
    errors: Floats = np.square(made - pixels[1]).mean(axis=1)
    return errors


def separation(
    manifest: Manifest, score: Run, reality: Reality, unusual: Labelled | None, named: str
) -> Iterator[Quality]:
    """What the score tells apart: pictures learnt from and held out, and unusual ones if given.

    The first is best at 0.5: beyond, the score knows the very pictures that it learnt from.
    """
    graph = manifest.graph("score")
    name = next(o.name for o in graph.outputs if o.kind == "score")

    def scores(part: Labelled) -> Floats:
        return answers(graph, score, part.images, name)

    usual = scores(reality.test)
    known = balanced(reality.learnt, len(reality.test))
    if reality.held_out:
        seen = scores(known)
        yield Quality(
            metric=f"AUROC of {name}, held out against learnt from",
            value=_auroc(seen, usual),
            samples=len(usual) + len(seen),
            protocol=f"{len(usual)} {reality.kind} against {len(seen)} training images; best: 0.5",
        )
    if unusual is None:
        return
    strange = scores(unusual)
    fitted = fitted_on(reality.learnt)
    linear = [pca_errors(fitted, part, SCORE_NUMBERS) for part in (reality.test, unusual)]
    plain = [errors for errors in linear if errors is not None]
    protocol = (
        f"{len(strange)} test images of {named} against {len(usual)} {reality.kind}; reference: "
        f"the squared error of PCA with {SCORE_NUMBERS} numbers, fitted on {len(fitted)} training "
        "images"
    )
    for metric, measure in (("AUROC", _auroc), ("AUPRC", _auprc)):
        yield Quality(
            metric=f"{metric} of {name}, {named}",
            value=measure(usual, strange),
            reference=measure(*plain) if plain else None,
            samples=len(strange) + len(usual),
            protocol=protocol,
        )


def _auroc(usual: Floats, strange: Floats) -> float:
    return float(roc_auc_score(*_labelled(usual, strange)))


def _auprc(usual: Floats, strange: Floats) -> float:
    return float(average_precision_score(*_labelled(usual, strange)))


def _labelled(usual: Floats, strange: Floats) -> tuple[Floats, Floats]:
    return np.repeat([0.0, 1.0], [len(usual), len(strange)]), np.concatenate([usual, strange])
