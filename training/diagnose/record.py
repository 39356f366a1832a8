"""What a diagnosis leaves in the run folder, and what an export reads there."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from training.errors import CheckpointError
from training.recipe import Settings


class Metric(Settings):
    """A number, the same of real pictures where that can be had, and how it came about."""

    value: float
    reference: float | None = None
    samples: int
    protocol: str


class Finding(Settings):
    """A verdict that holds: on which numbers, and what to do."""

    verdict: str
    because: tuple[str, ...]
    advice: tuple[str, ...] = ()


class Record(Settings):
    """The diagnosis of one checkpoint. ``findings`` begins with the verdict."""

    verdict: str
    detail: str
    images_seen: int
    findings: tuple[Finding, ...]
    metrics: dict[str, Metric] = Field(default_factory=dict)


def write_record(record: Record, path: Path) -> None:
    """Write it whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(record.model_dump_json(indent=1) + "\n")
    partial.replace(path)


def read_record(path: Path) -> Record | None:
    """The diagnosis at ``path``; None where there is none.

    Raises:
        CheckpointError: it is broken.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"{path} is broken: diagnose the run again") from error
