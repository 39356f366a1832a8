"""What the ticks of a run say of its game: numbers of its last third, beside those before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.diagnose.record import Metric

LEAST = 6  # ticks: of fewer, no third says anything
SUSTAINED = 25  # percentile of the last third: what holds there is no accident
SWING = 0.2  # nats of the divergence, of log 2 = 0.69: far more than batches differ by

Row = dict[str, Any]
Series = NDArray[np.float64]


def tell_history(rows: Sequence[Row], generator_phase: str | None) -> dict[str, Metric]:
    """The metrics of the last stage's ticks; none of what the system does not tell.

    Args:
        rows: of stats.jsonl.
        generator_phase: whose gradient is the generator's; None where it is not known.
    """
    rows = [row for row in rows if row["stage"] == rows[-1]["stage"]]
    if len(rows) < LEAST:
        return {}
    last = len(rows) // 3
    found: dict[str, Metric] = {}

    def keep(name: str, value: float, protocol: str) -> None:
        found[name] = Metric(value=float(value), samples=len(rows), protocol=protocol)

    for name in ("accuracy_real", "accuracy_fake", "jsd"):
        values = _series(rows, "signals", name)
        if values is not None:
            at = np.percentile(values[-last:], SUSTAINED)
            keep(name, at, "first quartile of the last third of the ticks")
    told = _series(rows, "signals", "jsd")
    if told is not None:
        swings = count_swings(told[len(rows) // 6 :])
        keep("swings", swings, f"of jsd by more than {SWING}, after the first sixth of the ticks")
    gradient = _series(rows, "grad_norm", generator_phase) if generator_phase else None
    if gradient is not None and gradient.max() > 0:
        faded = np.median(gradient[-last:]) / gradient.max()
        keep(
            "gradient_left", faded, "G's gradient norm: median of the last third over the greatest"
        )
    keep("loss_growth", _growth(rows), "greatest |term| of the last third over that of the first")
    return found


def _series(rows: Sequence[Row], kind: str, name: str) -> Series | None:
    values = [row[kind].get(name) for row in rows]
    return None if any(value is None for value in values) else np.array(values, np.float64)


def _growth(rows: Sequence[Row]) -> float:
    """How many times the largest term of the last third is that of the first; no term: 1."""
    third = len(rows) // 3
    largest = [max((abs(v) for v in row["terms"].values()), default=0.0) for row in rows]
    before, after = np.median(largest[:third]), np.median(largest[-third:])
    return float(after / before) if before else 1.0


def count_swings(values: Series) -> int:
    """How often a series goes up, or down, by more than ``SWING`` without such a turn between."""
    count, rising = 0, None
    low = high = values[0]
    for value in values:
        low, high = min(low, value), max(high, value)
        if rising is not True and value > low + SWING:
            count, rising, high = count + 1, True, value
        elif rising is not False and value < high - SWING:
            count, rising, low = count + 1, False, value
    return count
