"""The file that a measurement leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.machine import describe_machine


class Result:
    """One JSON object, filled while the measurement runs; ``complete`` becomes true at its end.

    Args:
        bench: the name of the measurement.
        facts: what is known before it starts.
    """

    def __init__(self, bench: str, **facts: Any) -> None:  # noqa: ANN401
        self.facts = {"bench": bench, "complete": False, "machine": describe_machine(), **facts}

    def update(self, **facts: Any) -> None:  # noqa: ANN401
        """Add what was measured."""
        self.facts.update(facts)

    def write(self, path: Path | None) -> None:
        """Write what there is, by rename; nothing without a path."""
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(self.facts, indent=1) + "\n")
        partial.replace(path)
