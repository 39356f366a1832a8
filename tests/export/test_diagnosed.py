"""The diagnosis of a run travels in its bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from export.bundle import load_bundle
from export.publish import export_bundle
from export.tables import manifest_table
from tests.export.networks import Convolutional, loaded_run, seeded
from training.diagnose.record import Finding, Metric, Record, write_record
from training.errors import CheckpointError
from training.run import LoadedRun, Run


def record(images_seen: int) -> Record:
    number = Metric(value=0.4, reference=0.0, samples=1000, protocol="share of 20 kinds")
    history = Metric(value=0.1, samples=60, protocol="last third of the ticks")
    return Record(
        verdict="mode collapse",
        detail="never made: dog, fox",
        images_seen=images_seen,
        findings=(Finding(verdict="mode collapse", because=("it is so",)),),
        metrics={"jsd": history, "missing_share": number},
    )


@pytest.fixture
def run(tmp_path: Path) -> LoadedRun:
    path = tmp_path / "run"
    Run(path).diagnosis.mkdir(parents=True)
    return replace(loaded_run(seeded(Convolutional())), path=path)


def exported(run: LoadedRun, models: Path) -> Path:
    return export_bundle(run, models, "animals", torchscript=False).path


def test_verdict_and_key_metrics_are_in_the_manifest(run: LoadedRun, tmp_path: Path) -> None:
    write_record(record(run.images_seen), Run(run.path).diagnosis_path)
    bundle = load_bundle(exported(run, tmp_path / "models"))
    diagnosis, (missing,) = bundle.manifest.diagnosis, bundle.manifest.quality
    assert diagnosis is not None
    assert (diagnosis.verdict, diagnosis.detail) == ("mode collapse", "never made: dog, fox")
    assert (missing.metric, missing.value, missing.reference) == ("missing_share", 0.4, 0.0)
    assert (missing.samples, missing.protocol) == (1000, "share of 20 kinds")
    console = Console(width=120)
    with console.capture() as shown:
        console.print(manifest_table(bundle))
    assert "mode collapse never made: dog, fox" in shown.get()


@pytest.mark.parametrize("seen", [None, 1000])
def test_no_diagnosis_or_one_of_an_earlier_checkpoint_is_none(
    seen: int | None, run: LoadedRun, tmp_path: Path
) -> None:
    if seen:
        write_record(record(seen), Run(run.path).diagnosis_path)
    manifest = load_bundle(exported(run, tmp_path / "models")).manifest
    assert manifest.diagnosis is None
    assert manifest.quality == ()


def test_a_broken_diagnosis_stops_the_export_in_words(run: LoadedRun, tmp_path: Path) -> None:
    Run(run.path).diagnosis_path.write_text("{")
    with pytest.raises(CheckpointError, match="diagnose the run again"):
        exported(run, tmp_path / "models")
    assert not (tmp_path / "models").exists()
