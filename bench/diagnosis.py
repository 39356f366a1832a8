"""Are the verdicts of ``ganymede diagnose`` right? Runs that are made to fail, and healthy ones.

``python -m bench.diagnosis --seeds 5``: a confusion table, and the verdict of every run.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.failing import CASES, run
from training.diagnose.diagnosis import diagnose
from training.diagnose.verdicts import HEALTHY, VERDICTS

NAMES = (*(verdict.name for verdict in VERDICTS), HEALTHY)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, diagnose, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--case", choices=CASES, action="append", help="these alone")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    told: Counter[tuple[str, str]] = Counter()
    console = Console(width=150)
    for name, case in CASES.items():
        if options.case and name not in options.case:
            continue
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                record = diagnose(run(case, Path(folder) / "case", seed)).record
            told[case.expected, record.verdict] += 1
            sign = "ok   " if record.verdict == case.expected else "WRONG"
            numbers = ", ".join(f"{k} {v.value:.3g}" for k, v in record.metrics.items())
            others = ", ".join(finding.verdict for finding in record.findings)
            line = f"{sign} {name}, seed {seed}: {others} ({numbers})"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(table(told))


def table(told: Counter[tuple[str, str]]) -> Table:
    """What was made against what was said."""
    made = [name for name in NAMES if any(expected == name for expected, _ in told)]
    shown = Table("made to be", *NAMES, "runs", title="verdict", title_justify="left")
    for expected in made:
        counts = [told[expected, verdict] for verdict in NAMES]
        shown.add_row(expected, *(f"{count or ''}" for count in counts), str(sum(counts)))
    return shown


if __name__ == "__main__":
    main()
