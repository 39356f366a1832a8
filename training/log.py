"""What happened since the last tick: running sums of the terms, kept on the device."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Log:
    """Sums of the terms since the last tick, and how many went into each.

    Part of a checkpoint: a tick that was cut in two by a stop reports what it would have.
    """

    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    lost: dict[str, Tensor] = field(default_factory=dict)  # how many were not finite
    rate: dict[str, float] = field(default_factory=dict)

    def add(self, phase: str, terms: dict[str, Tensor]) -> None:
        """Take note of the terms of one loss."""
        for name, term in terms.items():
            key = f"{phase}/{name}"
            value = term.detach().float()
            self.sums[key] = self.sums[key] + value if key in self.sums else value
            self.counts[key] = self.counts.get(key, 0) + 1
            lost = (~value.isfinite()).float()
            self.lost[key] = self.lost[key] + lost if key in self.lost else lost

    def means(self) -> dict[str, float]:
        """The mean of each term since the last tick; waits for the device."""
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def suspects(self) -> list[str]:
        """The terms, first the one that is lost for longest: the others it took along."""
        return sorted(self.lost, key=lambda name: -float(self.lost[name]) / self.counts[name])

    def clear(self) -> None:
        """Begin the next tick."""
        self.sums, self.counts, self.lost = {}, {}, {}
