"""Agreement, GAN-train and GAN-test."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.metrics.test_judge import QUICK, squares
from training.metrics.conditional import gan_train, label_agreement
from training.metrics.judge import train_judge


def test_agreement_is_the_share_of_samples_that_show_their_label() -> None:
    judge = train_judge(*squares(384), 3, QUICK)
    images, labels = squares(90, seed=1)
    labels[:30] = (labels[:30] + 1) % 3
    assert label_agreement(judge, images, labels) == pytest.approx(60 / 90)


def test_gan_train_of_real_images_is_the_accuracy_of_a_judge() -> None:
    real = squares(384)
    test = squares(90, seed=1)
    expected = train_judge(*real, 3, QUICK).accuracy(*test)
    assert gan_train(*real, *test, 3, QUICK) == expected == 1.0


def test_a_missing_class_lowers_gan_train_and_not_agreement() -> None:
    images, labels = squares(384)
    kept = labels != 2
    judge = train_judge(images, labels, 3, QUICK)
    assert label_agreement(judge, images[kept], labels[kept]) == 1.0
    learnt = gan_train(images[kept], labels[kept], *squares(90, seed=1), 3, QUICK)
    assert learnt == pytest.approx(2 / 3)


def test_samples_without_their_class_teach_nothing() -> None:
    images, labels = squares(384)
    shuffled = np.random.default_rng(0).permutation(labels)
    assert gan_train(images, shuffled, *squares(90, seed=1), 3, QUICK) < 0.7
