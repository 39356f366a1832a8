"""What ``ganymede diagnose`` found out about a run, for its bundle's manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.manifest import Diagnosis, Quality
from training.diagnose.record import Record, read_record
from training.run import Run

if TYPE_CHECKING:
    from training.run import LoadedRun

KEY_METRICS = ("missing_share", "copies", "near_real", "near_fake")


def read_diagnosis(run: LoadedRun) -> Record | None:
    """The run's diagnosis; None without one, or where training went on after it.

    Raises:
        CheckpointError: it is broken.
    """
    record = read_record(Run(run.path).diagnosis_path)
    return record if record and record.images_seen == run.images_seen else None


def diagnosis(record: Record | None) -> Diagnosis | None:
    """The verdict."""
    return Diagnosis(verdict=record.verdict, detail=record.detail) if record else None


def key_metrics(record: Record | None) -> tuple[Quality, ...]:
    """The numbers that pictures were compared by, beside those of real pictures."""
    found = record.metrics if record else {}
    return tuple(
        Quality(metric=name, **found[name].model_dump()) for name in KEY_METRICS if name in found
    )
