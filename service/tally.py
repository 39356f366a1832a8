"""What an engine has done since it was made: how many requests and batches, and for how long."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from service.batcher import Batch
from service.rows import Rows


@dataclass
class Total:
    """How often something happened, and for how long in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count it once more."""
        self.count += 1
        self.seconds += seconds


@dataclass
class Tally:
    """The counts of one engine in one process.

    A batch that failed and was retried in parts is not among ``batches``: nobody knows which of its
    seconds were for which rows.
    """

    rows: int = 0  # of the requests that were answered
    last_unix_s: float = 0.0  # when the latest of them was
    succeeded: Total = field(default_factory=Total)
    failed: Total = field(default_factory=Total)  # refused, expired, and withdrawn ones too
    queued: Total = field(default_factory=Total)
    ran: Total = field(default_factory=Total)
    batches: dict[int, Total] = field(default_factory=dict)  # by their rows

    def answered(self, rows: int, queued_s: float, ran_s: float) -> None:
        """Count a request that has its answer."""
        self.rows += rows
        self.last_unix_s = time.time()
        self.succeeded.add(queued_s + ran_s)
        self.queued.add(queued_s)
        self.ran.add(ran_s)

    def executed(self, batch: Batch[Rows]) -> None:
        """Count a batch that has ended."""
        if not batch.failed_runs:
            self.batches.setdefault(sum(map(len, batch.parts)), Total()).add(batch.ran_s)
