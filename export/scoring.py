"""How good are the pictures of a generator? What is drawn, and what stands beside each figure.

Which figures there are follows from the data and the generator's inputs: those of classes where it
takes a label and the data has the same classes by name, the others always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.binning import in_bins
from export.manifest import Quality
from export.perceptual import few, looks
from export.reality import SMALL, Labelled, Reality, Verdicts, in_shares, matched, spread
from training.data.dataset import Images, Labels
from training.data.progress import Progress, silent
from training.metrics.conditional import gan_train, label_agreement
from training.metrics.coverage import neighbourhood
from training.metrics.diversity import pairwise_distance
from training.metrics.features import Extractor
from training.metrics.frechet import frechet_distance, gaussian
from training.metrics.kernel import SUBSETS, kernel_distance, subset_size

SAMPLES = 10_000
AGREEMENT_SAMPLES = 2_000
NEIGHBOURS = 5
CHUNK = 500
VARIED, EACH = 50, 8  # texts or sources, and pictures of each
MIXED = "classes of samples in the shares of the test images"

Sample = Callable[[Labels, list[int]], Images]
"""A label and a seed per image to uint8 [N, H, W, C]; without classes it ignores the labels."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Equal counts of samples, of real images, and of other real images.

    ``mixture`` says which classes the samples are of, as a part of a protocol.
    """

    made: Labelled
    real: Labelled
    others: Labelled
    mixture: str = ""

    def __len__(self) -> int:
        return len(self.made)


def score_generator(
    sample: Sample,
    reality: Reality,
    extractors: Sequence[Extractor],
    *,
    classes: tuple[str, ...] = (),
    samples: int = SAMPLES,
    progress: Progress = silent,
) -> Iterator[Quality]:
    """Figure after figure, cheapest first, each with its reference: the same of real images.

    Image k has seed k. Classes that the data has too are asked in the shares of the test images, in
    every prefix: else a distance would tell how the data is mixed. Others are asked in turn.

    Args:
        sample: the generator.
        reality: what it is compared with.
        extractors: the features of distances; precision, recall, density, coverage and diversity
            are taken in the first.
        classes: names of the K that its label chooses among; none when it takes no label. Other
            data may have as many, and mean other things by them.
        samples: to draw; label agreement looks at 2,000 of them, and what compares sets at as
            many as half the test set has.
        progress: told of steps that take long.
    """
    judged = reality.verdicts if classes == reality.classes else None
    count = samples if judged else min(samples, len(reality.halves[0]))
    shares, mixture = _shares(classes, reality)
    drawn = _draw(sample, shares, count, progress)
    if judged:
        few = drawn.take(slice(AGREEMENT_SAMPLES))
        yield _agreement("label agreement", reality, judged, few)
    compared = compare(drawn, reality, mixture)
    for k, extractor in enumerate(extractors):
        yield from distribution(compared, reality.kind, extractor, k == 0, progress)
    yield from binned(compared, reality, progress)
    if judged:
        yield from _learning(reality, judged, drawn, progress)


def _shares(classes: tuple[str, ...], reality: Reality) -> tuple[Labels, str]:
    """How often each class is asked for, as counts [K], and that in words; [0] without classes."""
    if not classes:
        return np.zeros(0, np.int64), ""
    if classes != reality.classes or reality.test.labels is None:
        return np.ones(len(classes), np.int64), "; classes of samples in turn"
    counts = np.bincount(reality.test.labels, minlength=len(classes))
    return counts, f"; {MIXED}"


def _draw(sample: Sample, shares: Labels, count: int, progress: Progress) -> Labelled:
    labels = in_shares(shares, count) if len(shares) else np.zeros(count, np.int64)
    images = []
    for start in range(0, count, CHUNK):
        chunk = labels[start : start + CHUNK]
        images.append(sample(chunk, list(range(start, start + len(chunk)))))
        progress("samples", start + len(chunk), count)
    return Labelled(np.concatenate(images), labels if len(shares) else None)


def compare(drawn: Labelled, reality: Reality, mixture: str = "") -> Compared:
    """As many of each as there are of all, with every class's share kept."""
    real, others = reality.halves
    count = min(len(real), len(others), len(drawn))
    return Compared(drawn.take(slice(count)), spread(real, count), spread(others, count), mixture)


def _agreement(metric: str, reality: Reality, verdicts: Verdicts, drawn: Labelled) -> Quality:
    assert drawn.labels is not None
    return Quality(
        metric=metric,
        value=label_agreement(verdicts.judge, drawn.images, drawn.labels),
        reference=verdicts.accuracy,
        samples=len(drawn),
        protocol=f"{reality.judge_protocol}; {MIXED}; reference: real test images",
    )


def distribution(
    compared: Compared,
    kind: str,
    extractor: Extractor,
    everything: bool = True,
    progress: Progress = silent,
) -> Iterator[Quality]:
    """Distances of samples, and of other real images, from the same real images.

    Args:
        compared: equal counts of each.
        kind: what the real images are.
        extractor: of features.
        everything: neighbourhoods and diversity too.
        progress: told how far the features are.
    """
    count = len(compared)
    parts = (compared.real, compared.made, compared.others)
    real, made, others = (extractor(part.images, progress) for part in parts)
    protocol = (
        f"{extractor.about}; {count} samples against {count} {kind}; "
        f"reference: {count} others of these against the same{compared.mixture}"
    )
    target = gaussian(real)
    yield Quality(
        metric=extractor.distance_name("F"),
        value=frechet_distance(target, gaussian(made)),
        reference=frechet_distance(target, gaussian(others)),
        samples=count,
        protocol=protocol,
    )
    ours, floor = (kernel_distance(real, each) for each in (made, others))
    subsets = f"{SUBSETS} subsets of {subset_size(count, count)}, unbiased, cubic kernel"
    yield Quality(
        metric=extractor.distance_name("K"),
        value=ours.value,
        spread=ours.spread,
        reference=floor.value,
        samples=count,
        protocol=f"{protocol}; {subsets}",
    )
    if everything:
        yield from _neighbourhoods(real, made, others, protocol)
        yield from _diversities(compared, made, others, extractor)


def _neighbourhoods(
    real: NDArray[np.float32], made: NDArray[np.float32], others: NDArray[np.float32], protocol: str
) -> Iterator[Quality]:
    ours, ceiling = (neighbourhood(real, each, NEIGHBOURS) for each in (made, others))
    for metric in ("precision", "recall", "density", "coverage"):
        yield Quality(
            metric=metric,
            value=getattr(ours, metric),
            reference=getattr(ceiling, metric),
            samples=len(made),
            protocol=f"{protocol}; k = {NEIGHBOURS}",
        )


def _diversities(
    compared: Compared,
    made: NDArray[np.float32],
    others: NDArray[np.float32],
    extractor: Extractor,
) -> Iterator[Quality]:
    protocol = f"{extractor.about}; mean distance of two {{}}; reference: of two real images"
    yield Quality(
        metric="diversity",
        value=pairwise_distance(made),
        reference=pairwise_distance(others),
        samples=len(made),
        protocol=protocol.format("samples"),
    )
    ours, real = compared.made.labels, compared.others.labels
    if ours is not None and real is not None:
        yield Quality(
            metric="diversity within classes",
            value=pairwise_distance(made, ours),
            reference=pairwise_distance(others, real),
            samples=len(made),
            protocol=protocol.format("samples of one class"),
        )
        one, other = few(ours, VARIED), few(real, VARIED)
        images, known = compared.made.images[one], compared.others.images[other]
        told = f"{len(known)} real images of the same"
        yield from looks("classes", (images, ours[one]), (known, real[other]), told)


def within_texts(
    sampler: Callable[[Sequence[str]], Sample], texts: Sequence[str], eyes: Extractor
) -> Iterator[Quality]:
    """How much pictures of one text differ; ``sampler`` takes a text for each picture."""
    said = list(dict.fromkeys(texts))[:VARIED]
    of_each = [text for text in said for _ in range(EACH)]
    none = np.zeros(len(of_each), np.int64)
    images = sampler(of_each)(none, list(range(len(of_each))))
    made, groups = eyes(images), np.repeat(np.arange(len(said)), EACH)
    yield Quality(
        metric="diversity within texts",
        value=pairwise_distance(made, groups),
        reference=pairwise_distance(made),
        samples=len(made),
        protocol=f"{eyes.about}; mean distance of two of {EACH} pictures of each of {len(said)} "
        "captions; reference: of any two of them",
    )
    yield from looks("texts", (images, groups), images[::EACH], "pictures of different ones")


def binned(compared: Compared, reality: Reality, progress: Progress = silent) -> Iterator[Quality]:
    """NDB and JSD in bins of the training images; none where these are too few."""
    known = spread(reality.learnt, min(SAMPLES, len(reality.learnt)))
    pictures = known.images, compared.made.images, compared.others.images
    yield from in_bins(*pictures, f"{reality.kind}{compared.mixture}", progress)


def _learning(
    reality: Reality, verdicts: Verdicts, drawn: Labelled, progress: Progress
) -> Iterator[Quality]:
    yield _agreement("GAN-test", reality, verdicts, drawn)
    train = matched(reality.learnt, drawn)
    if min(len(train), len(drawn)) < SMALL.batch_size:
        return
    yield Quality(
        metric="GAN-train",
        value=_taught(reality, drawn, None, progress, "learning from samples"),
        reference=_taught(reality, train, verdicts.cache, progress, "learning from real images"),
        samples=len(drawn),
        protocol=(
            f"LeNet, {SMALL.epochs} epochs on {len(drawn)} samples, seed {SMALL.seed}, tested on "
            f"{len(reality.test)} real images of {reality.name}; reference: the same LeNet on "
            f"{len(train)} real training images; {MIXED}"
        ),
    )


def _taught(
    reality: Reality, teacher: Labelled, cache: Path | None, progress: Progress, step: str
) -> float:
    assert teacher.labels is not None
    assert reality.test.labels is not None
    return gan_train(
        teacher.images,
        teacher.labels,
        reality.test.images,
        reality.test.labels,
        len(reality.classes),
        SMALL,
        cache=cache,
        progress=lambda _, done, total: progress(step, done, total),
    )
