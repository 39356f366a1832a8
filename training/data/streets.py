"""Pairs of street maps and photographs, made by ``street_scenes`` from seeds. No file is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from training.data.dataset import Found, Images, Split
from training.data.kept import kept
from training.data.pool import in_order
from training.data.street_scenes import PALETTE, street_scene
from training.data.wanted import Wanted

FORMAT = 1  # of what is drawn: raise it when that changes
DEFAULT_SIZE = 64
COUNTS: Mapping[Split, int] = MappingProxyType({"train": 1_500, "test": 300})
FIRST_SEED: Mapping[Split, int] = MappingProxyType({"train": 0, "test": 2**32})
REPORT_EVERY = 50


@dataclass(frozen=True)
class Streets:
    """Photographs [N, S, S, 3], each from a map in the colours of ``street_scenes.PALETTE``."""

    def read(self, name: str, folder: Path | None, wanted: Wanted) -> Found:
        """See ``named.Files``."""
        size, count = wanted.size or DEFAULT_SIZE, COUNTS[wanted.split]
        first = FIRST_SEED[wanted.split]

        def draw(k: int) -> Images:
            scene = street_scene(size, first + k)
            return np.stack([PALETTE[scene.labels], scene.photograph])

        def draw_all() -> Iterator[Images]:
            with closing(in_order(draw, range(count))) as pairs:
                for done, pair in enumerate(pairs, 1):
                    yield pair
                    if done % REPORT_EVERY == 0 or done == count:
                        wanted.progress("drawing", done, count)

        facts = ["streets", FORMAT, first]
        both = kept(wanted.cache, facts, (2 * count, size, size, 3), draw_all)
        return Found(images=both[1::2], sources=both[::2])

    def here(self, name: str, split: Split, cache: Path) -> bool:
        """See ``named.Files``."""
        return True
