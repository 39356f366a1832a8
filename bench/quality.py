"""How good are the pictures of a bundle, in the eyes of a judge trained on real images?

``python -m bench.quality BUNDLE`` scores one, the starter by default; ``--train PRESET`` trains and
exports a new one first, and says how long that took. The exit status is 1 when a target is missed
or the judge is too weak.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bench.command import BenchError, console, run
from bench.progress import shown
from bench.reality import LEAST_ACCURACY, Reality, meet
from bench.result import Result
from bench.scoring import Sample, score_generator
from export.bundle import Bundle, load_bundle
from export.catalogue import find
from export.manifest import FixedSize, Label, Quality
from export.sampling import Generator, pictures
from export.source import open_generator
from training.metrics.judge import Images, Labels

__all__ = ["score_generator"]


STARTER = "fashion"


@dataclass(frozen=True)
class Target:
    """The least value of a metric: ``least``, plus shares of the reference where given."""

    metric: str
    least: float = 0.0
    of_reference: float = 0.0

    def limit(self, figure: Quality) -> float:
        """The value that must be reached."""
        return self.least + self.of_reference * (figure.reference or 0.0)


TARGETS = {
    "cgan-fashion-fast": (
        Target("label agreement", 0.90),
        Target("GAN-train", 0.80),
        Target("coverage", of_reference=0.5),
    ),
    "cgan-fashion-good": (
        Target("label agreement", -0.02, of_reference=1.0),
        Target("GAN-train", 0.84),
    ),
}


@dataclass(frozen=True)
class Trained:
    """A preset that was trained and exported just now."""

    run: Path
    bundle: Path
    train_minutes: float
    export_minutes: float


def train_preset(preset: str) -> Trained:
    """Train and export by the commands that a user has; the bundle goes to ``models/``."""
    started = time.monotonic()
    run_path = _ganymede("train", preset)
    trained = time.monotonic()
    bundle = _ganymede("export", run_path, "--name", Path(preset).stem)
    return Trained(
        run=Path(run_path),
        bundle=Path(bundle),
        train_minutes=(trained - started) / 60,
        export_minutes=(time.monotonic() - trained) / 60,
    )


def _ganymede(*arguments: str) -> str:
    """The last line that a command prints: the path of what it made."""
    command = [sys.executable, "-m", "ganymede", *arguments]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return answer.stdout.strip().splitlines()[-1]


def sampler(generator: Generator) -> Sample:
    """The pictures that a service would answer with, for labels and seeds."""

    def sample(labels: Labels, seeds: list[int]) -> Images:
        return pictures(generator, seeds, labels=[int(label) for label in labels])

    return sample


def verdict(figure: Quality, targets: tuple[Target, ...]) -> dict[str, Any]:
    """A figure as JSON, with its target where it has one."""
    limits = [target.limit(figure) for target in targets if target.metric == figure.metric]
    row = figure.model_dump()
    if limits:
        row |= {"target": max(limits), "passed": figure.value >= max(limits)}
    return row


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    """The figures, one a row."""
    shown_table = Table(title=title, title_justify="left")
    for name in ("metric", "this", "real", "target", "", "samples"):
        shown_table.add_column(name, justify="left" if name in ("metric", "") else "right")
    for row in rows:
        target = f"{row['target']:.3f}" if "target" in row else ""
        mark = ("pass" if row["passed"] else "MISSED") if "target" in row else ""
        real = "" if row["reference"] is None else f"{row['reference']:.3f}"
        shown_table.add_row(
            row["metric"], f"{row['value']:.3f}", real, target, mark, f"{row['samples']:,}"
        )
    return shown_table


def main(
    bundle: Annotated[
        str, typer.Argument(help="A bundle's path, or a name in models/ or of the starter.")
    ] = STARTER,
    train: Annotated[str | None, typer.Option(help="Train and export this preset first.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Compare with this data set, not the one learnt from.")
    ] = None,
    samples: Annotated[int, typer.Option(min=100, help="For label agreement.")] = 2_000,
    train_samples: Annotated[int, typer.Option(min=200, help="For GAN-train.")] = 10_000,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Score a bundle."""
    if train and bundle != STARTER:
        raise BenchError("give a bundle, or --train PRESET, not both")
    trained = train_preset(train) if train else None
    path = trained.bundle if trained else find(bundle, _folders())
    opened = load_bundle(path)
    result = Result("quality", bundle=_describe(opened))
    if trained:
        minutes = {"train": trained.train_minutes, "export": trained.export_minutes}
        result.update(run=trained.run.name, minutes=minutes)
    rows: list[dict[str, Any]] = []
    try:
        _measure(opened, data, samples, train_samples, result, rows)
    except KeyboardInterrupt:
        print("interrupted: what follows was measured before", file=sys.stderr)
    _tell(result, rows)
    result.write(json)
    missed = any(not row.get("passed", True) for row in rows)
    if missed or not result.facts["complete"] or result.facts.get("void"):
        raise typer.Exit(1)


def _measure(
    bundle: Bundle,
    data: str | None,
    samples: int,
    train_samples: int,
    result: Result,
    rows: list[dict[str, Any]],
) -> None:
    manifest = bundle.manifest
    source = data or (manifest.provenance.dataset if manifest.provenance else None)
    if not source:
        raise BenchError(f"{bundle.path} does not say what it learnt from: add --data NAME")
    if not isinstance(manifest.size, FixedSize):
        raise BenchError(f"{bundle.path} has no fixed size: this protocol needs one")
    generator = open_generator(str(bundle.path), [], None)
    channels = next(o.channels for o in generator.outputs if o.kind == "image")
    preset = manifest.provenance.preset if manifest.provenance else ""
    with shown() as progress:
        reality = meet(source, manifest.size.height, channels, train_samples, progress)
        result.update(judge=_judge(reality), void=not reality.valid, figures=rows)
        conditional = any(isinstance(entry, Label) for entry in generator.inputs)
        targets = TARGETS.get(preset, ())
        for figure in score_generator(
            sampler(generator),
            reality,
            conditional=conditional,
            samples=samples,
            train_samples=train_samples,
            progress=progress,
        ):
            rows.append(verdict(figure, targets))
    result.update(complete=True)


def _folders() -> list[Path]:
    return [Path("models"), Path(__file__).parent.parent / "deploy" / "starter"]


def _describe(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    provenance = manifest.provenance
    return {
        "name": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
        "provenance": provenance.model_dump() if provenance else None,
    }


def _judge(reality: Reality) -> dict[str, Any]:
    return {
        "data": reality.name,
        "images": reality.judge_images,
        "test_images": len(reality.test),
        "test_accuracy": reality.accuracy,
        "least_accuracy": LEAST_ACCURACY.get(reality.name),
    }


def _tell(result: Result, rows: list[dict[str, Any]]) -> None:
    output, facts = console(), result.facts
    about = facts["bundle"]
    title = f"{about['name']} {about['version']}"
    if provenance := about["provenance"]:
        title += f", preset {provenance['preset']}"
        if provenance["images_seen"] is not None:
            title += f", {provenance['images_seen'] / 1000:,.0f} kimg"
    if "minutes" in facts:
        title += f", trained in {facts['minutes']['train']:.1f} minutes"
    output.print(table(title, rows))
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        names = ", ".join(row["metric"] for row in rows if row["protocol"] == protocol)
        output.print(f"{names}: {protocol}", markup=False, soft_wrap=True)
    if facts.get("void"):
        judge = facts["judge"]
        output.print(
            f"VOID: the judge reaches {judge['test_accuracy']:.3f} on the test images of "
            f"{judge['data']}, and needs {judge['least_accuracy']:.2f}",
            style="bold red",
        )


if __name__ == "__main__":
    run(main)
