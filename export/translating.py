"""How near to the truth is what a bundle translates, and how many pictures does it make of one?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from export.binning import in_bins
from export.coding import answers
from export.manifest import ImageOutput, Manifest, Quality
from export.perceptual import looks
from export.rows import Run
from export.scoring import EACH, VARIED
from training.data.dataset import Dataset, Images
from training.data.progress import Progress, silent
from training.metrics.diversity import pairwise_distance
from training.metrics.features import Extractor
from training.metrics.kernel import kernel_distance, subset_size

Features = NDArray[np.float32]


def translation(
    manifest: Manifest,
    run: Run,
    pairs: Dataset,
    known: Images,
    eyes: Extractor,
    progress: Progress = silent,
) -> Iterator[Quality]:
    """Distance from the truth, kernel distance, NDB and JSD, and variety within a source.

    Where the translator takes a class, the last one: what the pictures of the pairs are.

    Args:
        manifest: of a bundle that translates.
        run: its graph.
        pairs: held out; with sources.
        known: what the sources of training should become, [M, H, W, C']; bins are made of them.
        eyes: the features of distances.
        progress: told of steps that take long.
    """
    sources, truth = np.asarray(pairs.sources), np.asarray(pairs.images)
    once = translated(manifest, run, sources)
    progress("translations", 1, 2)
    real = eyes(truth, progress)
    yield from _nearness(once, eyes(once, progress), pairs, real, eyes)
    yield from in_bins(np.asarray(known), once, truth, f"test truths of {pairs.name}", progress)
    count = len(truth)
    chosen = np.repeat(np.linspace(0, count - 1, min(VARIED, count)).astype(np.int64), EACH)
    varied = translated(manifest, run, sources[chosen])
    progress("translations", 2, 2)
    different = np.unique(chosen)
    reference = pairwise_distance(real[different])
    yield from _variety(varied, eyes(varied, progress), chosen, reference, pairs.name, eyes)
    yield from looks("sources", (varied, chosen), truth[different], "truths of different ones")


def _nearness(
    once: Images, seen: Features, pairs: Dataset, real: Features, eyes: Extractor
) -> Iterator[Quality]:
    sources, truth = np.asarray(pairs.sources), np.asarray(pairs.images)
    count = len(truth)
    yield Quality(
        metric="L1",
        value=_distance(once, truth),
        reference=_distance(sources, truth),
        samples=count,
        protocol=f"mean distance of a pixel in [0, 1] from the truth, {count} test pairs of "
        f"{pairs.name}, one picture of each; reference: the source as it is",
    )
    found = kernel_distance(real, seen)
    yield Quality(
        metric=eyes.distance_name("K"),
        value=found.value,
        spread=found.spread,
        reference=kernel_distance(real[0::2], real[1::2]).value,  # as data may be sorted
        samples=count,
        protocol=f"kernel distance in {eyes.about}, subsets of {subset_size(count, count)}; "
        "reference: every second of the truths from the others",
    )


def _distance(one: Images, other: Images) -> float:
    """Mean of a pixel's, in [0, 1]; grey beside colour is in each of its channels."""
    return float(np.abs(one.astype(np.int16) - other).mean() / 255)


def _variety(
    varied: Images,
    seen: Features,
    chosen: NDArray[np.int64],
    reference: float,
    name: str,
    eyes: Extractor,
) -> Iterator[Quality]:
    yield Quality(
        metric="diversity within sources",
        value=pairwise_distance(seen, chosen),
        reference=reference,
        samples=len(chosen),
        protocol=f"distance in {eyes.about} of {EACH} pictures of a source, {len(set(chosen))} "
        f"test sources of {name}; reference: of the truths of different sources",
    )
    grouped = varied.reshape(-1, EACH, *varied.shape[1:]).astype(np.float64) / 255
    yield Quality(
        metric="pixel deviation",
        value=float(grouped.std(1).mean()),
        samples=len(chosen),
        protocol="standard deviation of a pixel in [0, 1] over the pictures of a source",
    )


def translated(manifest: Manifest, run: Run, sources: Images) -> Images:
    """One picture of each source [N, H, W, C], picture k with seed k; uint8 [N, H, W, C']."""
    graph = manifest.graph("translate")
    answer = next(output.name for output in graph.outputs if isinstance(output, ImageOutput))
    label = len(graph.label.classes) - 1 if graph.label else 0
    return answers(graph, run, sources, answer, label=label)
