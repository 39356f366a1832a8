"""Jitter and mirroring: the same for an image and its source, and for a batch asked for again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.data.augment import Augmentation
from training.data.batches import Batches
from training.data.dataset import Dataset
from training.recipe import Batch


def dataset(count: int = 16, size: int = 12) -> Dataset:
    """Noise; each source is the negative of its image's first channel."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Dataset("noise", "", "", (), images, None, "0", sources=255 - images[..., :1])


def source_of(batch: Batch) -> Tensor:
    assert batch.source is not None
    return batch.source


def test_sources_come_with_their_images() -> None:
    batch = Batches(dataset(), 8, seed=0).batch(0)
    assert source_of(batch).shape == (8, 1, 12, 12)
    assert torch.allclose(source_of(batch), -batch.x[:, :1], atol=1e-6)


def test_an_image_and_its_source_change_alike() -> None:
    plain = Batches(dataset(), 8, seed=0).batch(3)
    for augmentation in (Augmentation(jitter=3), Augmentation(flip=True), Augmentation(4, True)):
        batch = Batches(dataset(), 8, 0, augmentation=augmentation).batch(3)
        assert batch.x.shape == plain.x.shape
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        assert not torch.equal(batch.x, plain.x)
        assert torch.allclose(source_of(batch), -batch.x[:, :1], atol=1e-5)


def test_flips_mirror_about_half_of_the_images() -> None:
    plain, flipped = (
        Batches(dataset(), 200, 0, augmentation=augmentation).batch(0).x
        for augmentation in (Augmentation(), Augmentation(flip=True))
    )
    mirrored = [torch.equal(b, a.flip(2)) for a, b in zip(plain, flipped, strict=True)]
    same = [torch.equal(b, a) for a, b in zip(plain, flipped, strict=True)]
    assert sum(mirrored) + sum(same) == 200
    assert 70 < sum(mirrored) < 130


def test_jitter_cuts_every_part_of_the_enlarged_image() -> None:
    """A ramp enlarged by 2 of 12 pixels and cut: three places a side, each a shifted ramp."""
    ramp = np.tile(np.arange(0, 240, 20, dtype=np.uint8), (12, 1))
    images = np.repeat(ramp[None, :, :, None], 2, axis=0)
    data = Dataset("ramp", "", "", (), images, None, "0")
    x = Batches(data, 100, 0, augmentation=Augmentation(jitter=2)).batch(0).x
    assert len(torch.unique((x[:, 0, 5, 5] * 1000).round())) == 3
    step = 20 / 127.5 * 12 / 14
    assert torch.allclose(x[:, 0, 5, 6] - x[:, 0, 5, 5], torch.tensor(step), atol=1e-5)


def test_a_batch_is_a_function_of_seed_and_k() -> None:
    def x(seed: int, k: int) -> Tensor:
        return Batches(dataset(), 8, seed, augmentation=Augmentation(3, True)).batch(k).x

    assert torch.equal(x(0, 5), x(0, 5))
    whole = Batches(dataset(), 16, 0, augmentation=Augmentation(3, True))
    assert not torch.equal(whole.batch(0).x.sum(0), whole.batch(1).x.sum(0))
    assert not torch.equal(x(0, 5), x(1, 5))


def test_what_is_shown_in_grids_is_not_augmented() -> None:
    plain, augmented = (
        Batches(dataset(), 8, 0, augmentation=augmentation)
        for augmentation in (Augmentation(), Augmentation(3, True))
    )
    assert torch.equal(plain.fixed(8).x, augmented.fixed(8).x)
