"""Does a conditional generator obey its label, and can a classifier learn from what it makes?

GAN-train and GAN-test: Shmelkov, Schmid & Alahari 2018 (arXiv:1807.09499), section 3. Agreement
alone prefers the generator with less variety, since typical samples are the easiest to recognise;
GAN-train falls when variety is missing. Read them together.
"""

from __future__ import annotations

from pathlib import Path

from training.data.progress import Progress, silent
from training.metrics.judge import Images, Judge, JudgeSettings, Labels, train_judge


def label_agreement(judge: Judge, images: Images, labels: Labels) -> float:
    """The share of samples that the judge gives the label they were asked for.

    With a judge that learnt from real images this is GAN-test.
    """
    return judge.accuracy(images, labels)


def gan_train(
    images: Images,
    labels: Labels,
    real_images: Images,
    real_labels: Labels,
    classes: int,
    settings: JudgeSettings | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> float:
    """Accuracy on real test images of a judge that learnt from the samples alone.

    Args:
        images: the samples, [N, H, W, C] uint8.
        labels: those they were asked for, [N].
        real_images: of the test set, which nothing was trained on.
        real_labels: theirs.
        classes: K.
        settings: of the judge that learns.
        cache: see ``train_judge``.
        progress: likewise.
    """
    learnt = train_judge(images, labels, classes, settings, cache=cache, progress=progress)
    return learnt.accuracy(real_images, real_labels)
