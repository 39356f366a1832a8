"""A diagnosis as files in the run folder: an offline page, its figures, and the record."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from training.diagnose import figures
from training.diagnose.diagnosis import Diagnosis, Seen
from training.diagnose.draw import STEPS
from training.diagnose.record import write_record
from training.report import embed, grids, write_page
from training.run import Run

# File, title, and what one has to know to read it.
FIGURES: tuple[tuple[str, str, str, Callable[[Seen], Figure | Image.Image | None]], ...] = (
    (
        "modes",
        "Kinds of pictures",
        "Bins of the training pictures (k-means of their principal components), called by their "
        "most frequent label. Red names: all but never made.",
        lambda seen: figures.mode_shares(seen.look.modes),
    ),
    (
        "missing",
        "Never made",
        "The training picture in the middle of each kind that is missing.",
        lambda seen: figures.examples(seen.look.modes, seen.data.images),
    ),
    (
        "neighbours",
        "Nearest training pictures",
        "Above what was generated, below the training picture nearest to it, from the nearest pair "
        "to the farthest. Twins all along are memorisation.",
        lambda seen: figures.neighbour_pairs(seen.pictures, seen.look.nearest, seen.data.images),
    ),
    (
        "walks",
        "Interpolations",
        "From one draw to another. What jumps between two pictures and has nothing between them "
        "knows them by heart.",
        lambda seen: figures.strips(seen.walks, STEPS),
    ),
    (
        "tsne",
        "Real and generated together (t-SNE)",
        "Islands of blue alone are pictures that are never made; of red alone, pictures like no "
        "real one. Sizes and distances of islands say nothing.",
        lambda seen: figures.embedding(seen.look.real, seen.look.generated),
    ),
    (
        "spectrum",
        "Spectrum",
        "Power by spatial frequency: too little at the right is blur, too much is noise.",
        lambda seen: figures.spectrum(seen.data.images[:1000], seen.pictures),
    ),
)


def write_diagnosis(run: Run, diagnosis: Diagnosis) -> Path:
    """Write figures, page and record, the record last; the page's path."""
    run.diagnosis.mkdir(exist_ok=True)
    for old in run.diagnosis.glob("*.png"):
        old.unlink()
    body = "".join([_verdict(run, diagnosis), *_figures(run.diagnosis, diagnosis.seen), grids(run)])
    page = run.diagnosis / "report.html"
    write_page(page, f"{run.path.name}: {diagnosis.record.verdict}", body)
    write_record(diagnosis.record, run.diagnosis_path)
    return page


def _verdict(run: Run, diagnosis: Diagnosis) -> str:
    record = diagnosis.record
    parts = [f"<h1>{escape(run.path.name)}: {escape(record.verdict)}</h1>"]
    parts.append(f"<p>{escape(record.detail)}</p>")
    for finding in record.findings:
        parts.append(f"<h2>{escape(finding.verdict.capitalize())}</h2>{_list(finding.because)}")
        parts.append(f"<p>What to do:</p>{_list(finding.advice)}" if finding.advice else "")
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{metric.value:.3g}</td>"
        f"<td>{'' if metric.reference is None else f'{metric.reference:.3g}'}</td>"
        f"<td>{metric.samples:,}</td><td>{escape(metric.protocol)}</td></tr>"
        for name, metric in record.metrics.items()
    )
    head = "<tr><td></td><td>value</td><td>real pictures</td><td>samples</td><td></td></tr>"
    return "".join(parts) + f"<h2>Numbers</h2><table>{head}{cells}</table>"


def _list(lines: tuple[str, ...]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _figures(folder: Path, seen: Seen | None) -> Iterator[str]:
    if seen is None:
        return
    for name, title, note, make in FIGURES:
        drawn = make(seen)
        if drawn is None:
            continue
        png = _png(drawn)
        (folder / f"{name}.png").write_bytes(png)
        yield f"<h2>{escape(title)}</h2><figure>{embed(png)}"
        yield f"<figcaption>{escape(note)}</figcaption></figure>"


def _png(drawn: Figure | Image.Image) -> bytes:
    buffer = io.BytesIO()
    if isinstance(drawn, Figure):
        drawn.savefig(buffer, format="png", dpi=100)
    else:
        drawn.save(buffer, "PNG")
    return buffer.getvalue()
