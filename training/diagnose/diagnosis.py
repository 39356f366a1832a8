"""A run folder in, a verdict out, and everything that it stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.checkpoint import checkpoints
from training.data.batches import Batches
from training.data.dataset import Dataset, Images
from training.diagnose.draw import draw, draws_from_a_prior, walk
from training.diagnose.history import tell_history
from training.diagnose.look import Look, look
from training.diagnose.modes import tell_missing
from training.diagnose.record import Finding, Metric, Record
from training.diagnose.verdicts import HEALTHY, judge
from training.errors import CheckpointError
from training.run import LoadedRun, Run, load_run
from training.train import load_data

SEED = 0


@dataclass(frozen=True, eq=False)
class Seen:
    """The pictures of a diagnosis: training data, samples, walks between latents, and the look."""

    data: Dataset
    pictures: Images
    walks: Images
    look: Look


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """A record, and what its figures are drawn of; nothing where the generator draws nothing."""

    record: Record
    seen: Seen | None


def diagnose(
    path: Path, samples: int = 1000, progress: Callable[[str], object] = lambda step: None
) -> Diagnosis:
    """Look at the ticks of a run, and at what its newest checkpoint makes.

    Args:
        path: the run folder.
        samples: pictures to look at.
        progress: is told each step as it begins.

    Raises:
        CheckpointError: not a run, nothing to look at yet, or its data has changed.
        DataError: its data is gone.
    """
    run = Run.open(path)
    rows, diverged = list(run.stats()), run.diverged_path.exists()
    loaded = load_run(path) if checkpoints(run.checkpoints) or not diverged else None
    metrics = tell_history(rows, generator_phase(loaded) if loaded else None) if rows else {}
    if diverged:
        told = run.diverged_path.read_text().strip()
        metrics["diverged"] = Metric(value=1, samples=1, protocol=told)
    seen = None
    if loaded is not None:
        metrics["trained"] = _trained(loaded)
        seen = _look(loaded, samples, progress)
        metrics |= seen.look.metrics if seen else {}
    progress("judging")
    findings = judge(metrics)
    record = Record(
        verdict=findings[0].verdict,
        detail=_detail(findings, metrics, seen),
        images_seen=loaded.images_seen if loaded else 0,
        findings=findings,
        metrics=metrics,
    )
    return Diagnosis(record, seen)


def generator_phase(loaded: LoadedRun) -> str | None:
    """The phase in which the generator learns, alone."""
    recipe = loaded.recipe
    return next((p.name for p in recipe.phases() if p.learns is recipe.generator), None)


def _trained(loaded: LoadedRun) -> Metric:
    """How far it came; a run that was made longer afterwards is judged by its new length."""
    seen, planned = loaded.images_seen, loaded.config.schedule.images
    told = f"share of the {planned:,} images of the schedule's stage that were seen"
    return Metric(value=min(1.0, seen / planned), samples=seen, protocol=told)


def _look(loaded: LoadedRun, samples: int, progress: Callable[[str], object]) -> Seen | None:
    """What the generator makes, beside its data; None where it is given pictures to work on."""
    progress("reading the data")
    data = load_data(loaded.config)
    if data.fingerprint != loaded.dataset["fingerprint"]:
        raise CheckpointError(
            f"{loaded.config.data.source} is not the data that {loaded.path} learnt from: put the "
            "images back"
        )
    if not draws_from_a_prior(loaded.recipe, Batches(data, 2, SEED)):
        return None
    progress(f"drawing {samples:,} pictures")
    pictures = draw(loaded.recipe, data, samples, SEED)
    progress("comparing them with the data")
    found = look(data, pictures, SEED)
    return Seen(data, pictures, walk(loaded.recipe, data, SEED), found)


def _detail(findings: tuple[Finding, ...], metrics: dict[str, Metric], seen: Seen | None) -> str:
    """One line for people who read no more."""
    verdict = findings[0].verdict
    parts = []
    if verdict == "divergence" and "diverged" in metrics:
        parts.append(metrics["diverged"].protocol)
    elif verdict != HEALTHY:
        parts.append(findings[0].because[0])
    missing = tell_missing(seen.look.modes) if seen else ""
    if missing:
        parts.append(f"never made: {missing}")
    parts += [f"also {finding.verdict}" for finding in findings[1:]]
    return "; ".join(parts)
