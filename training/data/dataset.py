"""A data set as training sees it: uint8 images, optional labels, and where they came from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.captions import Captions, digest_of

Split = Literal["train", "test"]
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
DIGESTED_ROWS = 1024  # at a time: images may be a view of a memory map, which hashing copies


class Skipped(NamedTuple):
    """A file that was left out, and why."""

    name: str
    reason: str


class Found(NamedTuple):
    """What the files of a named set hold.

    Args:
        images: [N, H, W], or [N, H, W, C].
        labels: [N].
        sources: [N, H, W, C'], see ``Dataset``.
    """

    images: Images
    labels: Labels | None = None
    sources: Images | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Real images, and what must be said about them.

    Args:
        name: of the source, or of the user's folder or file.
        licence: of the images; a bundle trained on them inherits it.
        attribution: the words that the licence asks to keep; may be empty.
        classes: names of the K classes; empty without labels.
        images: [N, H, W, C], C 1 or 3; may be a read-only memory map.
        labels: [N], each in [0, K).
        fingerprint: see ``fingerprint``.
        skipped: files that could not be used.
        sources: [N, H, W, C'], C' 1 or 3: what each image is to be produced from, if anything.
        captions: what the pictures show in words, if that is known.
        domains: names of what the sources and the images are, where the two of a row have nothing
            to do with one another; empty where they are a pair.
    """

    name: str
    licence: str
    attribution: str
    classes: tuple[str, ...]
    images: Images
    labels: Labels | None
    fingerprint: str
    skipped: tuple[Skipped, ...] = ()
    sources: Images | None = None
    captions: Captions | None = None
    domains: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def fingerprint(
    images: Images,
    labels: Labels | None,
    classes: tuple[str, ...],
    sources: Images | None = None,
    captions: Captions | None = None,
) -> str:
    """SHA-256 (hex) over shape, pixels, labels and words: equal means the same training."""
    facts: dict[str, Any] = {
        "shape": images.shape,
        "labelled": labels is not None,
        "classes": classes,
    }
    if sources is not None:
        facts["sources"] = sources.shape
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for pixels in (images,) if sources is None else (images, sources):
        for start in range(0, len(pixels), DIGESTED_ROWS):
            digest.update(np.ascontiguousarray(pixels[start : start + DIGESTED_ROWS]).data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, "<i8").data)
    digest.update(digest_of(captions))
    return digest.hexdigest()
