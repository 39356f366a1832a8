"""A data set as an endless sequence of batches that can be entered anywhere.

Batch ``k`` is a function of (data, seed, k) alone: every epoch has a permutation drawn from its
own Philox stream, so that resuming needs one number and no iterator state.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augment import PLAIN, Augmentation
from training.data.dataset import Dataset
from training.recipe import Batch


class Source(Protocol):
    """Where a training loop finds its ``k``-th batch, whenever it asks."""

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        ...

    def batch(self, k: int) -> Batch:
        """The ``k``-th batch."""
        ...


class Batches:
    """Shuffled batches of ``size`` images, on ``device``, channels last.

    Args:
        data: the images.
        size: images in a batch.
        seed: of the order.
        device: where the tensors go.
        augmentation: what is done to the images of ``batch``, and to their sources alike.
    """

    def __init__(
        self,
        data: Dataset,
        size: int,
        seed: int,
        device: torch.device | str = "cpu",
        augmentation: Augmentation = PLAIN,
    ) -> None:
        self.data, self.size, self.seed = data, size, seed
        self.augmentation = augmentation
        self.device = torch.device(device)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def batch(self, k: int) -> Batch:
        """The ``k``-th batch."""
        start = k * self.size
        places = range(start, start + self.size)
        plain = self.of(
            [self._index(place) for place in places],
            [place // len(self.data) for place in places],  # another caption in each epoch
        )
        return self.augmentation.of(plain, self.seed, k)

    def fixed(self, count: int) -> Batch:
        """``count`` images in order of their classes, the same at every call: for sample grids.

        Without classes they are spread over the whole data.
        """
        total = len(self.data)
        if self.data.labels is None:
            return self.of([k * total // count for k in range(count)])
        classes = [np.flatnonzero(self.data.labels == c) for c in np.unique(self.data.labels)]
        each = -(-count // len(classes))
        chosen = [members[k % len(members)] for members in classes for k in range(each)]
        return self.of(chosen[:count])

    def of(self, indices: list[int], turns: list[int] | None = None) -> Batch:
        """The batch of these images; of their captions those whose turn it is, or the first."""
        data, words = self.data, self.data.captions
        batch = to_batch(
            data.images[indices],
            None if data.labels is None else data.labels[indices],
            self.device,
            None if data.sources is None else data.sources[indices],
        )
        if words is None:
            return batch
        chosen = np.array(turns or [0] * len(indices)) % words.tokens.shape[1]
        text = torch.from_numpy(words.tokens[indices, chosen]).to(self.device)
        return replace(batch, text=text)

    def drawn(self, count: int) -> list[int]:
        """The places of the first ``count`` images of the sequence: a sample of the data."""
        return [self._index(position) for position in range(count)]

    def _index(self, position: int) -> int:
        epoch, offset = divmod(position, len(self.data))
        if epoch != self._epoch:
            key = np.array([self.seed, epoch], np.uint64)
            generator = np.random.Generator(np.random.Philox(key=key))
            self._epoch, self._order = epoch, generator.permutation(len(self.data))
        return int(self._order[offset])


def to_batch(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    device: torch.device,
    sources: NDArray[np.uint8] | None = None,
) -> Batch:
    """uint8 [N, H, W, C] to float32 [N, C, H, W] in [-1, 1], channels last in memory."""
    y = None if labels is None else torch.from_numpy(labels.astype(np.int64)).to(device)
    return Batch(
        _to_float(images, device), y, None if sources is None else _to_float(sources, device)
    )


def _to_float(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    pixels = torch.from_numpy(np.require(images, requirements=("C", "W"))).to(device)
    x = pixels.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)
    return x.contiguous(memory_format=torch.channels_last)


def split(batch: Batch, parts: int) -> list[Batch]:
    """The batch in ``parts`` of nearly equal size."""
    if parts == 1:
        return [batch]
    pieces = {name: value.chunk(parts) for name, value in vars(batch).items() if value is not None}
    return [
        Batch(**{name: chunks[k] for name, chunks in pieces.items()})
        for k in range(len(pieces["x"]))
    ]
