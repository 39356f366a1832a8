"""The protocol: what is drawn, what it is compared with, and what stands beside each figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from bench.reality import SMALL, Labelled, Reality
from export.manifest import Quality
from training.data.progress import Progress, silent
from training.metrics.conditional import gan_train, label_agreement
from training.metrics.coverage import neighbourhood
from training.metrics.frechet import frechet_distance, gaussian
from training.metrics.judge import Images, Labels

NEIGHBOURS = 5
CHUNK = 500

Sample = Callable[[Labels, list[int]], Images]
"""A label and a seed per image to uint8 [N, H, W, C]; without classes it ignores the labels."""


def score_generator(
    sample: Sample,
    reality: Reality,
    *,
    conditional: bool = True,
    samples: int = 2_000,
    train_samples: int = 10_000,
    progress: Progress = silent,
) -> Iterator[Quality]:
    """Figure after figure, cheapest first, each with its reference: the same of real images.

    Image k has seed k and, with classes, label k mod K, so that every prefix is balanced.

    Args:
        sample: the generator.
        reality: what it is compared with.
        conditional: whether it is told the label.
        samples: for label agreement.
        train_samples: for GAN-train and GAN-test; the other figures use as many of them as half
            the test set has.
        progress: told of steps that take long.
    """
    count = max(samples, train_samples if conditional else len(reality.halves[0]))
    drawn = _draw(sample, reality, count, conditional, progress)
    if conditional:
        yield _agreement(reality, drawn.take(slice(samples)))
    yield from _distribution(reality, drawn)
    if conditional:
        yield from _learning(reality, drawn.take(slice(train_samples)), progress)


def _draw(
    sample: Sample, reality: Reality, count: int, conditional: bool, progress: Progress
) -> Labelled:
    labels = np.arange(count) % len(reality.classes)
    images = []
    for start in range(0, count, CHUNK):
        chunk = labels[start : start + CHUNK]
        images.append(sample(chunk, list(range(start, start + len(chunk)))))
        progress("samples", start + len(chunk), count)
    return Labelled(np.concatenate(images), labels if conditional else None)


def _agreement(reality: Reality, drawn: Labelled) -> Quality:
    assert drawn.labels is not None
    return Quality(
        metric="label agreement",
        value=label_agreement(reality.judge, drawn.images, drawn.labels),
        reference=reality.accuracy,
        samples=len(drawn),
        protocol=f"{reality.protocol}; samples class-balanced; reference: real test images",
    )


def _distribution(reality: Reality, drawn: Labelled) -> Iterator[Quality]:
    """Frechet distance and neighbourhoods: samples, and a real half, against the other half."""
    real, held_out = reality.halves
    count = min(len(real), len(held_out), len(drawn))
    features = [
        reality.judge.look(part.images).features
        for part in (real.take(_spread(real, count)), held_out.take(_spread(held_out, count)))
    ]
    made = reality.judge.look(drawn.images[:count]).features
    protocol = (
        f"{reality.protocol}; its 128 features; {count} samples against {count} real test images; "
        f"reference: the {count} other test images against the same"
    )
    target = gaussian(features[0])
    yield Quality(
        metric="FD-judge",
        value=frechet_distance(target, gaussian(made)),
        reference=frechet_distance(target, gaussian(features[1])),
        samples=count,
        protocol=protocol,
    )
    ours = neighbourhood(features[0], made, NEIGHBOURS)
    ceiling = neighbourhood(features[0], features[1], NEIGHBOURS)
    for metric in ("precision", "recall", "density", "coverage"):
        yield Quality(
            metric=metric,
            value=getattr(ours, metric),
            reference=getattr(ceiling, metric),
            samples=count,
            protocol=f"{protocol}; k = {NEIGHBOURS}",
        )


def _spread(data: Labelled, count: int) -> NDArray[np.int64]:
    """Rows of a set that is sorted by class, evenly: every class keeps its share."""
    return np.arange(count) * len(data) // count


def _learning(reality: Reality, drawn: Labelled, progress: Progress) -> Iterator[Quality]:
    assert drawn.labels is not None
    yield Quality(
        metric="GAN-test",
        value=label_agreement(reality.judge, drawn.images, drawn.labels),
        reference=reality.accuracy,
        samples=len(drawn),
        protocol=f"{reality.protocol}; reference: real test images",
    )
    yield Quality(
        metric="GAN-train",
        value=_taught(reality, drawn, progress, "learning from samples"),
        reference=_taught(reality, reality.train, progress, "learning from real images"),
        samples=len(drawn),
        protocol=(
            f"LeNet, {SMALL.epochs} epochs on {len(drawn)} samples, seed {SMALL.seed}, tested on "
            f"{len(reality.test)} real images of {reality.name}; reference: the same LeNet on "
            f"{len(reality.train)} real training images"
        ),
    )


def _taught(reality: Reality, teacher: Labelled, progress: Progress, step: str) -> float:
    assert teacher.labels is not None
    assert reality.test.labels is not None
    return gan_train(
        teacher.images,
        teacher.labels,
        reality.test.images,
        reality.test.labels,
        len(reality.classes),
        SMALL,
        cache=reality.cache if teacher is reality.train else None,
        progress=lambda _, done, total: progress(step, done, total),
    )
