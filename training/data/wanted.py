"""What ``load`` was asked for, passed on whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.data.dataset import Split
from training.data.progress import Progress


@dataclass(frozen=True)
class Wanted:
    """What the data set must look like; see ``training.data.load``."""

    split: Split
    size: int | None
    channels: int | None
    cache: Path
    progress: Progress
    pairing: str | None = None
