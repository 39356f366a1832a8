"""Writes Prometheus's rules: ``python3 deploy/prometheus/render.py`` makes ``rules.yml``.

``rules.template.yml`` is the source. What stands between angle brackets there is filled in: a
duration (``<5m>``), which ``--divisor`` makes shorter so that days can be tried in minutes, or one
of the objectives, which are arguments here. Needs Python and this checkout, nothing installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from service.histograms import SECONDS

FOLDER = Path(__file__).parent
TEMPLATE = FOLDER / "rules.template.yml"
RULES = FOLDER / "rules.yml"

MILLISECONDS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def render(
    template: str,
    *,
    availability: float = 0.999,
    latency: float = 0.99,
    latency_s: float = 0.512,
    runbook: str = "deploy/RUNBOOK.md",
    divisor: int = 1,
) -> str:
    """The rules of a template.

    Args:
        template: the text of ``rules.template.yml``.
        availability: share of requests that must be answered.
        latency: share of answers that must be in time.
        latency_s: what in time means; an edge of the histogram's buckets, for only there is the
            share exact.
        runbook: where the runbook can be read, a file or a URL.
        divisor: by how much every window is shorter than in real life.

    Raises:
        ValueError: an objective that cannot be one.
    """
    if latency_s not in SECONDS:
        edges = ", ".join(f"{edge:g}" for edge in SECONDS)
        raise ValueError(f"latency_s={latency_s:g} is not an edge of a bucket: use one of {edges}")
    for name, share in (("availability", availability), ("latency", latency)):
        if not 0 < share < 1:
            raise ValueError(f"{name}={share:g} is not between 0 and 1")
    values = {
        "availability": f"{100 * availability:.6g} %",
        "error_budget": f"{1 - availability:.6g}",
        "latency": f"{100 * latency:.6g} %",
        "slow_budget": f"{1 - latency:.6g}",
        "latency_s": repr(latency_s),  # as the service writes it into the label le
        "runbook": runbook,
    }

    def shortened(match: re.Match[str]) -> str:
        if divisor == 1:
            return match[1] + match[2]
        return f"{int(match[1]) * MILLISECONDS[match[2]] // divisor}ms"

    text = re.sub(r"<(\d+)([smhd])>", shortened, template)
    return re.sub(r"<([a-z_]+)>", lambda match: values[match[1]], text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the rules as the arguments say."""
    parser = argparse.ArgumentParser(description="Writes the rules of Prometheus.")
    parser.add_argument("--availability", type=float, default=0.999, help="share to be answered")
    parser.add_argument("--latency", type=float, default=0.99, help="share to be in time")
    parser.add_argument("--latency-s", type=float, default=0.512, help="what in time means")
    parser.add_argument("--runbook", default="deploy/RUNBOOK.md", help="file or URL of it")
    parser.add_argument("--divisor", type=int, default=1, help="makes every window shorter")
    parser.add_argument("--out", type=Path, default=RULES, help="the file to write")
    given = vars(parser.parse_args(arguments))
    out: Path = given.pop("out")
    try:
        text = render(TEMPLATE.read_text(encoding="utf-8"), **given)
    except ValueError as error:
        parser.error(str(error))
    out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
