"""The judge: it learns, repeats itself, and is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.metrics.judge import FEATURES, Images, Judge, JudgeSettings, Labels, train_judge

QUICK = JudgeSettings(epochs=3, batch_size=32)


def squares(count: int, seed: int = 0, side: int = 16) -> tuple[Images, Labels]:
    """Three classes: a bright square in one of three corners, on noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 60, (count, side, side, 1), np.uint8)
    corners = [(0, 0), (0, side - 8), (side - 8, 0)]
    for image, label in zip(images, labels, strict=True):
        top, left = corners[label]
        image[top : top + 8, left : left + 8] += 120
    return images, labels


def weights(judge: Judge) -> list[torch.Tensor]:
    return list(judge.state_dict().values())


def same(a: Judge, b: Judge) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_it_learns_to_tell_classes_apart() -> None:
    judge = train_judge(*squares(384), 3, QUICK)
    assert judge.accuracy(*squares(90, seed=1)) == 1.0


def test_the_same_data_and_settings_give_the_same_judge() -> None:
    images, labels = squares(96)
    first = train_judge(images, labels, 3, QUICK)
    torch.manual_seed(1234)  # whatever the caller did meanwhile
    assert same(first, train_judge(images, labels, 3, QUICK))
    assert not same(first, train_judge(images, labels, 3, JudgeSettings(1, 3, 32)))


def test_the_callers_random_state_is_kept() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_judge(*squares(64), 3, QUICK)
    assert torch.equal(torch.rand(3), expected)


def test_logits_and_features_of_every_image_in_order() -> None:
    images, _ = squares(70)
    judge = Judge(16, 1, 3)
    opinion = judge.look(images, chunk=32)
    assert opinion.logits.shape == (70, 3)
    assert opinion.features.shape == (70, FEATURES)
    assert opinion.features.dtype == np.float32
    assert (opinion.labels == opinion.logits.argmax(1)).all()
    np.testing.assert_allclose(judge.look(images[40:41]).features[0], opinion.features[40], 1e-4)


def test_looking_neither_learns_nor_changes_the_mode() -> None:
    judge = Judge(16, 1, 3, dropout=0.5).train()
    images, _ = squares(40)
    before = [value.clone() for value in weights(judge)]
    first = judge.look(images)
    assert judge.training
    assert all(torch.equal(x, y) for x, y in zip(before, weights(judge), strict=True))
    np.testing.assert_array_equal(judge.look(images).logits, first.logits)


def test_read_only_and_colour_images_are_fine() -> None:
    images, labels = squares(64, side=20)
    colour = np.repeat(images, 3, axis=3)
    colour.flags.writeable = False
    labels.flags.writeable = False
    judge = train_judge(colour, labels, 3, QUICK)
    assert judge.look(colour).logits.shape == (64, 3)


def test_a_judge_is_trained_once_and_then_found(tmp_path: Path) -> None:
    images, labels = squares(64)
    steps: list[tuple[str, int, int]] = []

    def note(step: str, done: int, total: int) -> None:
        steps.append((step, done, total))

    first = train_judge(images, labels, 3, QUICK, cache=tmp_path, progress=note)
    assert steps[-1] == ("judge", 6, 6)
    assert len(steps) == 6
    again = train_judge(images, labels, 3, QUICK, cache=tmp_path, progress=note)
    assert len(steps) == 6
    assert same(first, again)
    assert not again.training


def test_other_pixels_labels_or_settings_are_another_judge(tmp_path: Path) -> None:
    images, labels = squares(64)
    other = images.copy()
    other[0, 0, 0, 0] ^= 1
    for pixels, classes, settings in (
        (images, labels, QUICK),
        (other, labels, QUICK),
        (images, labels[::-1].copy(), QUICK),
        (images, labels, JudgeSettings(epochs=1, batch_size=32)),
    ):
        train_judge(pixels, classes, 3, settings, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_file_in_the_cache_is_replaced(tmp_path: Path) -> None:
    images, labels = squares(64)
    first = train_judge(images, labels, 3, QUICK, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert same(first, train_judge(images, labels, 3, QUICK, cache=tmp_path))
    assert path.stat().st_size > 1000


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="32 images or more, not 31"):
        train_judge(*squares(31), 3, QUICK)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 px, not 8"):
        Judge(8, 1, 3)
