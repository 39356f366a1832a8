"""Batch k is a function of (data, seed, k): entered anywhere, over all epochs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.data.batches import Batches, to_batch
from training.data.captions import Captions
from training.data.dataset import Dataset


def dataset(count: int = 10, labels: list[int] | None = None, channels: int = 1) -> Dataset:
    """Image k is grey level k all over."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(images, (count, 2, 2, channels)).copy()
    return Dataset("levels", "", "", (), images, None if labels is None else np.array(labels), "0")


def which(batches: Batches, k: int) -> list[int]:
    return [round(v) for v in ((batches.batch(k).x[:, 0, 0, 0] + 1) * 127.5).tolist()]


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order() -> None:
    batches = Batches(dataset(), 5, seed=0)
    first, second = ([*which(batches, k), *which(batches, k + 1)] for k in (0, 2))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_a_batch_does_not_depend_on_those_before_it() -> None:
    batches = Batches(dataset(), 4, seed=0)
    forwards = [which(batches, k) for k in range(12)]
    backwards = [which(Batches(dataset(), 4, seed=0), k) for k in reversed(range(12))]
    assert forwards == backwards[::-1]


def test_a_batch_over_the_end_of_an_epoch_goes_on_in_the_next() -> None:
    batches = Batches(dataset(), 4, seed=0)
    shown = [image for k in range(5) for image in which(batches, k)]
    assert sorted(shown[:10]) == sorted(shown[10:]) == list(range(10))


def test_a_batch_may_be_larger_than_the_data() -> None:
    shown = which(Batches(dataset(3), 8, seed=0), 0)
    assert sorted(shown[:3]) == sorted(shown[3:6]) == [0, 1, 2]


def test_another_seed_is_another_order() -> None:
    assert which(Batches(dataset(), 10, 0), 0) != which(Batches(dataset(), 10, 1), 0)


def test_labels_stay_with_their_images() -> None:
    labels = [3 * k % 7 for k in range(10)]
    batches = Batches(dataset(labels=labels), 6, seed=0)
    y = batches.batch(1).y
    assert y is not None
    assert y.dtype == torch.int64
    assert y.tolist() == [labels[image] for image in which(batches, 1)]
    assert Batches(dataset(), 6, seed=0).batch(1).y is None


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_become_floats_from_minus_one_to_one_channels_last(channels: int) -> None:
    data = dataset(2, channels=channels)
    data.images[0], data.images[1] = 0, 255
    x = Batches(data, 2, seed=0).of([0, 1]).x
    assert x.shape == (2, channels, 2, 2)
    assert x.dtype == torch.float32
    assert (x[0] == -1).all()
    assert (x[1] == 1).all()
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_data_is_not_written_to() -> None:
    data = dataset()
    data.images.setflags(write=False)  # as a memory map is
    Batches(data, 5, seed=0).batch(0).x.add_(1)
    assert data.images[:, 0, 0, 0].tolist() == list(range(10))


def test_fixed_images_come_class_by_class_and_are_always_the_same() -> None:
    batches = Batches(dataset(labels=[k % 3 for k in range(10)]), 4, seed=0)
    first, again = batches.fixed(6), batches.fixed(6)
    assert first.y is not None
    assert first.y.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(first.x, again.x)


def test_more_fixed_images_than_there_are_repeat() -> None:
    assert len(Batches(dataset(3), 2, seed=0).fixed(8)) == 8
    assert len(Batches(dataset(3, [0, 1, 1]), 2, seed=0).fixed(8)) == 8


def test_captions_take_turns_epoch_by_epoch() -> None:
    """Token 10 k + m is caption m of picture k."""
    tokens = 10 * np.arange(10)[:, None, None] + np.arange(2)[None, :, None]
    words = Captions((("one", "other"),) * 10, tokens, "{}", 100)
    batches = Batches(replace(dataset(), captions=words), 5, seed=0)
    for k in range(6):
        text = batches.batch(k).text
        assert text is not None
        assert text[:, 0].tolist() == [10 * image + k // 2 % 2 for image in which(batches, k)]
    fixed = batches.fixed(3).text
    assert fixed is not None
    assert fixed[:, 0].tolist() == [0, 30, 60]
    assert Batches(dataset(), 5, seed=0).batch(0).text is None


def test_pictures_that_may_not_be_written_to_are_read() -> None:
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    pictures.setflags(write=False)  # as of a file that is mapped into memory
    assert to_batch(pictures, None, torch.device("cpu")).x.eq(-1).all()
