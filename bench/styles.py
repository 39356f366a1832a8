"""How many pictures a translator makes of one, and how good they are: figures of its test pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.command import BenchError
from export.bundle import Bundle
from export.manifest import Image, ImageOutput, Quality
from export.rows import Rows, chosen_rows, cut, sizes
from export.runtime import onnx_run
from training import data
from training.data.dataset import Images
from training.data.progress import Progress
from training.metrics.diversity import pairwise_distance
from training.metrics.features import lite0
from training.metrics.kernel import kernel_distance, subset_size

VARIED, EACH = 50, 8  # sources, and pictures of each
BATCH_ROWS = 16


def score_translator(bundle: Bundle, progress: Progress) -> Iterator[Quality]:
    """Variety within a source, distance from the truth, and kernel distance; references are real.

    Raises:
        BenchError: nobody says what it learnt from, or that has no pairs.
    """
    made = bundle.manifest.provenance
    if made is None:
        raise BenchError(f"{bundle.path} does not say what it learnt from")
    side = sizes(bundle.manifest.size)[0][0]
    pairs = data.load(made.dataset, split="test", size=side, progress=progress)
    if pairs.sources is None:
        raise BenchError(f"{made.dataset} has no pairs")
    eyes, count = lite0(), len(pairs)
    truth = np.asarray(pairs.images)
    chosen = np.repeat(np.linspace(0, count - 1, min(VARIED, count)).astype(np.int64), EACH)
    varied = translate(bundle, pairs.sources[chosen], list(range(len(chosen))))
    seen, real = eyes(varied, progress), eyes(truth, progress)
    yield Quality(
        metric="diversity within sources",
        value=pairwise_distance(seen, chosen),
        reference=pairwise_distance(real[np.unique(chosen)]),
        samples=len(chosen),
        protocol=f"distance in {eyes.about} of {EACH} pictures of a source, {len(set(chosen))} "
        f"test sources of {made.dataset}; reference: of the truths of different sources",
    )
    grouped = varied.reshape(-1, EACH, *varied.shape[1:]).astype(np.float64) / 255
    yield Quality(
        metric="pixel deviation",
        value=float(grouped.std(1).mean()),
        samples=len(chosen),
        protocol="standard deviation of a pixel in [0, 1] over the pictures of a source",
    )
    once = translate(bundle, np.asarray(pairs.sources), list(range(count)))
    yield Quality(
        metric="L1",
        value=float(np.abs(once / 255 - truth / 255).mean()),
        samples=count,
        protocol=f"mean distance of a pixel in [0, 1] from the truth, {count} test pairs",
    )
    found = kernel_distance(real, eyes(once, progress))
    half = count // 2
    yield Quality(
        metric=eyes.distance_name("K"),
        value=found.value,
        spread=found.spread,
        reference=kernel_distance(real[:half], real[half:]).value,
        samples=count,
        protocol=f"kernel distance in {eyes.about}, subsets of {subset_size(count, count)}; "
        "reference: one half of the truths from the other",
    )


def translate(bundle: Bundle, sources: Images, seeds: list[int]) -> NDArray[np.uint8]:
    """One picture for each source [N, H, W, C], each with its seed; uint8 [N, H, W, C']."""
    graph = bundle.manifest.graph("translate")
    image = next(entry for entry in graph.inputs if isinstance(entry, Image))
    answer = next(output for output in graph.outputs if isinstance(output, ImageOutput))
    planes = np.asarray(sources).transpose(0, 3, 1, 2).astype(np.float32) / 255
    given: Rows = {image.name: image.low + (image.high - image.low) * planes}
    last = len(graph.label.classes) - 1 if graph.label else 0  # the domain of the truths
    labels = [last] * len(seeds)
    rows = chosen_rows(graph.inputs, seeds, *planes.shape[2:], labels=labels, given=given)
    run = onnx_run(bundle.file(graph.onnx))
    starts = range(0, len(seeds), BATCH_ROWS)
    return np.concatenate([run(cut(rows, k, k + BATCH_ROWS))[answer.name] for k in starts])
