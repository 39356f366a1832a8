"""What an engine counts of its requests and batches."""

from __future__ import annotations

import numpy as np

from service.batcher import Batch
from service.rows import Rows
from service.tally import Tally, Total


def batch(*sizes: int, ran_s: float, failed_runs: int = 0) -> Batch[Rows]:
    parts = [Rows({"z": np.zeros((size, 8), np.float32)}) for size in sizes]
    return Batch(parts, ran_s, alone=False, failed_runs=failed_runs, failed_parts=0)


def test_batches_are_counted_by_their_rows() -> None:
    tally = Tally()
    for each in (batch(1, 2, ran_s=0.25), batch(3, ran_s=0.5), batch(4, ran_s=1.0)):
        tally.executed(each)
    assert tally.batches == {3: Total(2, 0.75), 4: Total(1, 1.0)}


def test_a_batch_that_was_retried_is_not_counted() -> None:
    tally = Tally()
    tally.executed(batch(2, 2, ran_s=0.25, failed_runs=1))
    assert tally.batches == {}


def test_requests_are_counted_in_rows_and_in_themselves() -> None:
    tally = Tally()
    tally.answered(64, 0.5, 0.25)
    tally.answered(1, 0.0, 0.125)
    assert (tally.rows, tally.succeeded, tally.failed) == (65, Total(2, 0.875), Total())
    assert (tally.queued, tally.ran) == (Total(2, 0.5), Total(2, 0.375))
    assert tally.last_unix_s > 1.7e9
