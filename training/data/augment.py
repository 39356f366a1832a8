"""Images seen a little differently each time, and what they are produced from alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from training.recipe import Batch

AUGMENTING = 1 << 63  # sets the stream of a batch apart from that of an epoch's order


@dataclass(frozen=True)
class Augmentation:
    """Random jitter and mirroring. Isola et al. 2017 (arXiv:1611.07004), appendix 6.2.

    Args:
        jitter: pixels by which a side is enlarged before a part of the old size is cut out.
        flip: mirror an image left to right, or do not, with equal chances.
    """

    jitter: int = 0
    flip: bool = False

    def of(self, batch: Batch, seed: int, k: int) -> Batch:
        """Batch ``k``, its images and their sources changed by the same draws."""
        if not self.jitter and not self.flip:
            return batch
        key = np.array([seed, AUGMENTING | k], np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        corners = generator.integers(self.jitter + 1, size=(len(batch), 2)).tolist()
        mirrored = torch.from_numpy(generator.random(len(batch)) < (0.5 if self.flip else 0.0))
        source = None if batch.source is None else self._changed(batch.source, corners, mirrored)
        return replace(batch, x=self._changed(batch.x, corners, mirrored), source=source)

    def _changed(self, images: Tensor, corners: list[list[int]], mirrored: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if self.jitter:
            larger = (height + self.jitter, width + self.jitter)
            images = interpolate(images, larger, mode="bilinear", align_corners=False)
            cut = [
                image[:, top : top + height, left : left + width]
                for image, (top, left) in zip(images, corners, strict=True)
            ]
            images = torch.stack(cut)
        kept = ~mirrored.to(images.device)[:, None, None, None]
        return torch.where(kept, images, images.flip(3)).contiguous(
            memory_format=torch.channels_last
        )


PLAIN = Augmentation()
