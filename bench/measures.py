"""One entry of the table: train, measure, say what stands beside; by the benches' own functions.

A measure takes the entry and gives ``Measured``: the figures by name, and what was trained.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench import anomaly, coders, pairs, retrieval, unpaired
from bench.anomaly_trials import PROTOCOLS
from bench.baselines import gaussian_sampler
from bench.lines import CODED, CONDITIONED, GENERATED, Better, Job, Line
from export.bundle import Bundle
from export.evaluate import Wanted, evaluate, extractors, measurable, opened
from export.manifest import FixedSize, ImageOutput, Quality
from export.reality import meet
from export.scoring import SAMPLES, score_generator
from export.source import open_generator
from training.config import RunConfig, load_preset
from training.data.named import SHIPPED_DIGITS
from training.data.progress import Progress
from training.lab import modes, stacked
from training.lab.finding import Finding
from training.run import Run, load_run

GOOD = "relativistic, R1 + R2"  # named in advance: nothing is chosen by its result
RUNS: Mapping[str, partial[Finding]] = {  # that objective of an experiment that has several
    "stacked-mnist": partial(stacked.experiment, games={GOOD: stacked.GAMES[GOOD]}),
    "ring": partial(modes.experiment, "ring", games=(GOOD,)),
    "grid": partial(modes.experiment, "grid", games=(GOOD,)),
}


@dataclass(frozen=True)
class Budget:
    """How much of it: ``settings`` of training over the preset's, and samples of a generator."""

    settings: tuple[str, ...] = ()
    samples: int = SAMPLES
    seeds: int = 1


@dataclass(frozen=True)
class Measured:
    """What a measure found.

    Args:
        system: that was trained.
        data: that it learnt from.
        images_seen: in training; none of an experiment that counts none.
        minutes: of training.
        figures: by metric.
        baselines: by metric, of a plain generator on the same terms.
        lines: of the table, where the entry names none.
        comparable: whether it learnt from what the published figures are of.
    """

    system: str
    data: str
    images_seen: int | None
    minutes: float
    figures: Mapping[str, Quality]
    baselines: Mapping[str, float] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    comparable: bool = True


Measure = Callable[[str, Job, Path, Budget, Progress], Measured]


def trained(preset: str, folder: Path, budget: Budget) -> tuple[Path, float]:
    """The run of a preset in ``folder``, trained or gone on with, and the minutes that it took."""
    run = folder / preset
    if any((run / "checkpoints").glob("*")):
        command = ["resume", str(run)]
    else:
        shutil.rmtree(run, ignore_errors=True)  # it began, and came to no checkpoint
        settings = [part for one in budget.settings for part in ("--set", one)]
        command = ["train", preset, "--out", str(run), *settings]
    subprocess.run(
        [sys.executable, "-m", "ganymede", *command], check=True, stdout=subprocess.DEVNULL
    )
    return run, sum(tick["seconds"] for tick in Run.open(run).stats()) / 60


def of_bundle(name: str, job: Job, folder: Path, budget: Budget, progress: Progress) -> Measured:
    """A preset by ``ganymede evaluate``, and the plain generator on the same terms."""
    run, minutes = trained(name, folder, budget)
    with opened(str(run), [], None, lambda step: None) as bundle:
        lines = job.lines or _lines(bundle)
        compared = any(line.bar == "baseline" for line in lines)
        figures = list(evaluate(bundle, Wanted(samples=budget.samples), progress))
        plain = dict(_plain(bundle, budget, progress)) if compared else {}
    made = bundle.manifest.provenance
    assert made is not None  # of a run
    named = {figure.metric: figure for figure in figures}
    return Measured(made.system, made.dataset, made.images_seen, minutes, named, plain, lines)


def _lines(bundle: Bundle) -> tuple[Line, ...]:
    """Those of what a bundle does."""
    does = measurable(bundle.manifest)
    generated = CONDITIONED if _classes(bundle) else GENERATED
    return (generated if "generate" in does else ()) + (CODED if "encode" in does else ())


def _plain(bundle: Bundle, budget: Budget, progress: Progress) -> Iterator[tuple[str, float]]:
    """The figures of a Gaussian on the training images: each metric and its value."""
    manifest, classes = bundle.manifest, _classes(bundle)
    assert isinstance(manifest.size, FixedSize)  # or nothing of it was measured
    assert manifest.provenance is not None
    outputs = manifest.graph("generate").outputs
    channels = next(o.channels for o in outputs if isinstance(o, ImageOutput))
    reality = meet(manifest.provenance.dataset, manifest.size.height, channels, progress)
    found = score_generator(
        gaussian_sampler(reality.learnt, len(classes)),
        reality,
        extractors((), reality),
        classes=classes,
        samples=budget.samples,
        progress=progress,
    )
    for figure in found:
        yield figure.metric, figure.value


def _classes(bundle: Bundle) -> tuple[str, ...]:
    tasks = bundle.manifest.tasks
    label = bundle.manifest.graph("generate").label if "generate" in tasks else None
    return label.classes if label else ()


def of_bound(name: str, job: Job, folder: Path, budget: Budget, progress: Progress) -> Measured:
    """The evidence lower bound of a VAE, by ``bench.coders``."""
    run, minutes = trained(name, folder, budget)
    loaded = load_run(run)
    (row,) = coders.bound(loaded)
    figure = Quality(
        metric="-ELBO, nats",
        value=row["nats"],
        samples=row["count"],
        protocol=f"one draw for each of {row['count']} held-out pictures",
    )
    where = loaded.dataset["name"]
    return Measured("vae", where, loaded.images_seen, minutes, {figure.metric: figure})


def of_anomaly(name: str, job: Job, folder: Path, budget: Budget, progress: Progress) -> Measured:
    """One digit normal, nine anomalous, by ``bench.anomaly``; minutes of all trainings."""
    config: RunConfig = load_preset(name, budget.settings)
    source, seeds = config.data.source, list(range(max(job.seeds, budget.seeds)))
    protocol = PROTOCOLS["one-class"]
    trials = protocol.trials(source, config.data.size, list(range(10)))
    started, rows = time.monotonic(), list[dict[str, Any]]()
    for row in anomaly.measure(config, protocol, trials, seeds, alone=False):
        rows.append(row)
        progress("digits", len(rows), 10)
    figure = Quality(
        metric="mean AUROC of 10 digits",
        value=statistics.mean(statistics.mean(row["ebgan"]) for row in rows),
        samples=rows[-1]["asked"],
        protocol=f"one digit of {source} normal, nine anomalous; {len(seeds)} runs of each",
    )
    return Measured(
        system=config.recipe.system,
        data=source,
        images_seen=10 * len(seeds) * config.schedule.images,
        minutes=(time.monotonic() - started) / 60,
        figures={figure.metric: figure},
        baselines={figure.metric: statistics.mean(row["pca"] for row in rows)},
    )


def of_pairs(name: str, job: Job, folder: Path, budget: Budget, progress: Progress) -> Measured:
    """A translator on the pairs of its test split, by ``bench.pairs``."""
    run, minutes = trained(name, folder, budget)
    loaded = load_run(run)
    truth = pairs.truth_of(loaded.config)
    *plain, ours = pairs.measure([(name, loaded)], truth, seed=0)
    protocol = f"{len(truth.images)} held-out pairs, one draw of the dropout for each"
    figures = {
        line.metric: Quality(
            metric=line.metric,
            value=ours[line.metric],
            samples=len(truth.images),
            protocol=protocol,
        )
        for line in job.lines
    }
    best = {line.metric: min(row[line.metric] for row in plain) for line in job.lines}
    where = loaded.dataset["name"]
    return Measured("pix2pix", where, loaded.images_seen, minutes, figures, best)


def of_domains(name: str, job: Job, folder: Path, budget: Budget, progress: Progress) -> Measured:
    """A translator between two domains on held-out pairs, both ways, by ``bench.unpaired``."""
    run, minutes = trained(name, folder, budget)
    loaded = load_run(run)
    found = list(unpaired.distances(name, loaded))
    figures, best = {one.metric: one for one, _ in found}, {one.metric: bar for one, bar in found}
    where = loaded.dataset["name"]
    return Measured("unpaired", where, loaded.images_seen, minutes, figures, best)


def of_text(name: str, job: Job, folder: Path, budget: Budget, progress: Progress) -> Measured:
    """A model that reads captions, by ``bench.retrieval``."""
    run, minutes = trained(name, folder, budget)
    loaded = load_run(run)
    with opened(str(run), [], None, lambda step: None) as bundle:
        spoken = retrieval.spoken_of(bundle, loaded.config.data.source, progress)
        generator = open_generator(str(bundle.path), [], None)
        found = retrieval.measure(generator, spoken, min(budget.samples, 1_000), progress)
    figures = {figure.metric: figure for figure in found}
    return Measured("text", loaded.dataset["name"], loaded.images_seen, minutes, figures)


def of_lab(name: str, job: Job, folder: Path, budget: Budget, progress: Progress) -> Measured:
    """The good objective of an experiment of ``ganymede lab``."""
    started, seeds = time.monotonic(), max(job.seeds, budget.seeds)
    finding = RUNS[name](seeds)
    ours = next(row for row in finding.rows if row["who"] == f"ours: {GOOD}")
    figures = {
        line.metric: Quality(
            metric=line.metric,
            value=_number(ours[line.metric], line.better),
            samples=seeds,
            protocol=finding.protocol,
        )
        for line in job.lines
    }
    minutes = (time.monotonic() - started) / 60
    data = f"{job.data}, {finding.data}" if finding.data else job.data
    fair = finding.data != SHIPPED_DIGITS
    return Measured(GOOD, data, finding.images_seen, minutes, figures, comparable=fair)


def _number(cell: object, better: Better) -> float:
    """The number at the head of a cell: a median, before its range; none is the worst."""
    head = str(cell).split()
    if not head or head[0] == "diverged":
        return 0.0 if better == "more" else float("inf")
    return float(head[0])


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "bundle": of_bundle,
        "bound": of_bound,
        "anomaly": of_anomaly,
        "pairs": of_pairs,
        "domains": of_domains,
        "text": of_text,
        "lab": of_lab,
    }
)


def rows_of(name: str, job: Job, measured: Measured) -> list[dict[str, Any]]:
    """The lines of the table, each with its verdict; a metric that could not be had is said so."""
    common = {"preset": name, **{key: getattr(measured, key) for key in COMMON}}
    return [common | _row(line, measured) for line in job.lines or measured.lines]


COMMON = ("system", "data", "images_seen", "minutes")


def _row(line: Line, measured: Measured) -> dict[str, Any]:
    figure = measured.figures.get(line.metric)
    about = {"metric": line.metric, "beside": line.beside}
    if figure is None:
        return about | {"ours": None, "bar": None, "verdict": "not to be had here"}
    match line.bar:
        case "baseline":
            bar = measured.baselines.get(line.metric)
        case "reference":
            bar = figure.reference
        case number:
            bar = number if measured.comparable else None
    facts = {"ours": figure.value, "bar": bar, "samples": figure.samples}
    return (
        about | facts | {"protocol": figure.protocol, "verdict": verdict(line, figure.value, bar)}
    )


def verdict(line: Line, ours: float, bar: float | None) -> str:
    """Who wins, and by how much of the bar."""
    if bar is None:
        return "nothing to compare with"
    ahead = ours - bar if line.better == "more" else bar - ours
    share = "" if bar == 0 else f" by {abs(ahead / bar):.1%}"
    if ahead == 0:
        return "equals it"
    return f"{'wins' if ahead > 0 else 'LOSES'}{share}"
