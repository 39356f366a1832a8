"""What an experiment gives: a claim, a table, a figure, and the protocol that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

Cell = float | int | str
Row = Mapping[str, Cell]

DIVERGED = "diverged"


def of_those_left(cell: str, left: int, seeds: int) -> str:
    """A cell about the ``left`` of so many pairs that came to their end."""
    return cell if left == seeds else f"{cell}, {seeds - left} of {seeds} {DIVERGED}"


@dataclass(frozen=True, eq=False)
class Finding:
    """The result of an experiment.

    Args:
        claim: what is known, and from where.
        protocol: how the numbers came about; enough to repeat them.
        rows: a table; every row has the same columns.
        figure: the same to look at.
        data: what was learnt from, where that depends on the machine.
        images_seen: in training, by the pairs of one game together; none where nothing counts them.
    """

    claim: str
    protocol: str
    rows: Sequence[Row]
    figure: Figure
    data: str = ""
    images_seen: int | None = None

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``name.png`` and ``name.json``, and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        picture, numbers = folder / f"{name}.png", folder / f"{name}.json"
        self.figure.savefig(picture, dpi=110)
        facts = {
            "experiment": name,
            "claim": self.claim,
            "protocol": self.protocol,
            "rows": [dict(row) for row in self.rows],
        }
        numbers.write_text(json.dumps(facts, indent=1) + "\n")
        return picture, numbers
