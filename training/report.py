"""A run as one offline HTML page: curves, sample grids over time, and the configuration."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from training.run import Run

GRIDS = 6  # shown at most, spread over the run


@dataclass(frozen=True)
class Curve:
    """A figure of the ticks: the numbers under ``key``, of signals those that are named.

    ``note`` is what one has to know to read it; ``line`` a level to compare with, and its name.
    Without names, the signals that no other figure has.
    """

    title: str
    key: str
    note: str
    names: tuple[str, ...] = ()
    line: tuple[float, str] | None = None

    def choose(self, row: dict[str, Any]) -> dict[str, float]:
        """What a tick has for this figure."""
        values: dict[str, float] = row[self.key]
        if self.key != "signals":
            return values
        others = {name for curve in CURVES for name in curve.names}
        wanted = self.names or [name for name in values if name not in others]
        return {name: values[name] for name in wanted if name in values}


CURVES = (
    Curve("Losses", "terms", "Every weighted term; a phase minimises the sum of its own."),
    Curve(
        "D(x) and D(G(z))",
        "signals",
        "Sigmoid of the discriminator's logits on real and on generated images: with the losses of "
        "the logistic kind, the probability of being real. Both near 0.5: it cannot tell. D(G(z)) "
        "near 0 for long: it wins. Accuracy: the share of either kind that it tells.",
        ("d_real", "d_fake", "accuracy_real", "accuracy_fake"),
    ),
    Curve(
        "Jensen-Shannon divergence",
        "signals",
        "What the discriminator shows of it, in nats: a lower bound, of the training pictures; "
        "too high where it knows those by heart. At log 2 it tells every picture, and its slope "
        "says nothing more.",
        ("jsd",),
        (math.log(2), "log 2"),
    ),
    Curve(
        "Variety and neighbours in a batch",
        "signals",
        "1: as real pictures are to one another. diversity: deviation of the generated pictures. "
        "near_fake: distance of a generated picture to the nearest other; near_real: to the "
        "nearest real one; left_out: of a real one to the nearest generated one.",
        ("diversity", "near_fake", "near_real", "left_out"),
        (1.0, "real pictures"),
    ),
    Curve("Signals of the system", "signals", "What this recipe tells besides."),
    Curve("Gradient norms", "grad_norm", "Of the last step before each tick, per phase."),
    Curve("Learning rates", "rate", "As scheduled."),
)

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; background: #fff; }
.grids { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.grids img { image-rendering: pixelated; width: 100%; }
figcaption { color: GrayText; font-size: .9rem; }
table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
pre { padding: 1rem; border: 1px solid GrayText; overflow-x: auto; }
"""


def write_report(run: Run) -> Path:
    """Draw ``report.html`` anew from what the run folder holds."""
    rows = list(run.stats())
    body = [
        f"<h1>{escape(run.path.name)}</h1>",
        _summary(rows),
        grids(run),
        *(_curve(curve, rows) for curve in CURVES),
        f"<h2>Configuration</h2><pre>{escape(run.config_path.read_text())}</pre>",
    ]
    write_page(run.report_path, run.path.name, "".join(body))
    return run.report_path


def write_page(path: Path, title: str, body: str) -> None:
    """Write an HTML page whole or not at all."""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>{body}</html>\n"
    )
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(page)
    partial.replace(path)


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "<p>No tick yet.</p>"
    last = rows[-1]
    speeds = sorted(row["images_per_s"] for row in rows)
    facts = [
        ("Images seen", f"{_images_of_run(rows)[-1]:,}"),
        ("Stages", str(last["stage"] + 1)),
        ("Images per second, median", f"{speeds[len(speeds) // 2]:,.0f}"),
        *((name, f"{value:.4g}") for name, value in (last["terms"] | last["signals"]).items()),
    ]
    cells = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in facts)
    return f"<table>{cells}</table>"


def grids(run: Run) -> str:
    """Sample grids of a run, spread over its time; nothing before the first."""
    paths = sorted(run.samples.glob(f"[0-9][0-9]-{'[0-9]' * 10}.png"))
    if not paths:
        return ""
    count = min(GRIDS, len(paths))
    chosen = [paths[round(k * (len(paths) - 1) / max(1, count - 1))] for k in range(count)]
    figures = "".join(
        f"<figure>{embed(p.read_bytes())}<figcaption>{_caption(p)}</figcaption></figure>"
        for p in chosen
    )
    return f'<h2>Samples, from the same latents every time</h2><div class="grids">{figures}</div>'


def _caption(path: Path) -> str:
    stage, images = path.stem.split("-")
    return f"stage {int(stage)}, after {int(images):,} images"


def _curve(curve: Curve, rows: Sequence[dict[str, Any]]) -> str:
    series: dict[str, tuple[list[float], list[float]]] = {}
    for row, images in zip(rows, _images_of_run(rows), strict=True):
        for name, value in curve.choose(row).items():
            xs, ys = series.setdefault(name, ([], []))
            xs.append(images / 1000)
            ys.append(value)
    if not series:
        return ""
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.add_subplot()
    for name, (xs, ys) in series.items():
        axes.plot(xs, ys, label=name, linewidth=1, marker="." if len(xs) == 1 else None)
    if curve.line:
        level, name = curve.line
        axes.axhline(level, color="grey", linestyle=":", linewidth=1, label=name)
    axes.set_xlabel("thousands of images")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return (
        f"<h2>{escape(curve.title)}</h2><figure>{embed(buffer.getvalue())}"
        f"<figcaption>{escape(curve.note)}</figcaption></figure>"
    )


def _images_of_run(rows: Sequence[dict[str, Any]]) -> list[int]:
    """The images seen by each tick, those of the stages before it included."""
    ends: dict[int, int] = {row["stage"]: row["images"] for row in rows}  # the last row wins
    before = {stage: sum(ends[s] for s in ends if s < stage) for stage in ends}
    return [before[row["stage"]] + row["images"] for row in rows]


def embed(png: bytes) -> str:
    """A picture that the page brings along."""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
