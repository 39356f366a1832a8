"""How evenly do made pictures fill the bins of known ones? ``training.metrics.bins``, in pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from export.manifest import Quality
from training.data.dataset import Images
from training.data.progress import Progress, silent
from training.metrics.bins import BINS, bin_score, make_bins
from training.metrics.features import resized_images

SIDE = 32  # pixels: larger pictures are binned at this size
LEAST = 20  # known pictures in a bin, on average


def in_bins(
    known: Images, made: Images, real: Images, kind: str, progress: Progress = silent
) -> Iterator[Quality]:
    """NDB and JSD of made pictures, beside real ones; none where too few are known.

    Args:
        known: of the training data, uint8 [N, H, W, C]; bins are made of them.
        made: to be judged.
        real: not known, for reference.
        kind: what these are, in a word or two.
        progress: told of steps that take long.
    """
    bins = min(BINS, len(known) // LEAST)
    if bins < 2:
        return
    progress("bins", 0, 3)
    made_of = make_bins(_pixels(known), bins)
    found = []
    for k, part in enumerate((made, real), start=1):
        progress("bins", k, 3)
        found.append(bin_score(made_of, _pixels(part)))
    progress("bins", 3, 3)
    ours, others = found
    protocol = (
        f"{bins} bins by K-means of the pixels of {len(known)} training images; "
        f"{len(made)} samples; reference: {len(real)} {kind}"
    )
    counts = {"samples": len(made), "protocol": protocol}
    yield Quality(metric="NDB", value=ours.different, reference=others.different, **counts)
    yield Quality(metric="JSD", value=ours.jsd, reference=others.jsd, **counts)


def _pixels(images: Images) -> NDArray[np.float32]:
    return resized_images(images, SIDE).reshape(len(images), -1)
