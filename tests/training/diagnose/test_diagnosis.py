"""Runs that are really made to fail, each in its own way, and healthy ones; seconds each."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from bench.failing import CASES, run
from tests.training.test_commands import Cli, cli
from tests.training.test_report import Page
from tests.training.tiny import Silent, after, never, tiny_config, write_npz
from training.checkpoint import checkpoints
from training.diagnose.diagnosis import Diagnosis, diagnose
from training.diagnose.page import write_diagnosis
from training.diagnose.record import read_record
from training.errors import CheckpointError
from training.run import Run
from training.train import resume, train

__all__ = ["cli"]

SHOWN = (
    "non-saturating, R1",
    "D learns nearly nothing",
    "minimax, 5 steps of D",
    "G learns nearly nothing",
    "momentum, fast G",
    "8 pictures",
    "stopped at a tenth",
    "plain descent, rate 2",
)
"""One of each verdict; all of them, with more seeds: ``python -m bench.diagnosis``."""

Made = Callable[[str], tuple[Path, Diagnosis]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Runs of the cases, each trained and diagnosed when it is first asked for."""
    known: dict[str, tuple[Path, Diagnosis]] = {}

    def make(name: str) -> tuple[Path, Diagnosis]:
        if name not in known:
            path = run(CASES[name], tmp_path_factory.mktemp("case") / "case", seed=0)
            known[name] = path, diagnose(path, samples=400)
        return known[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.write_report", lambda run: None)  # takes longer than a run
        yield make


@pytest.mark.parametrize("name", SHOWN)
def test_each_failure_is_named_and_nobody_healthy_is_accused(name: str, made: Made) -> None:
    record = made(name)[1].record
    assert record.verdict == CASES[name].expected, record


def test_every_verdict_is_made_to_happen() -> None:
    assert {CASES[name].expected for name in SHOWN} == {case.expected for case in CASES.values()}
    assert len({case.expected for case in CASES.values()}) == 8


def test_what_was_stopped_is_told_to_go_on(made: Made) -> None:
    record = made("stopped at a tenth")[1].record
    assert record.findings[0].because[0].startswith("trained is 0.1, below 0.5: ")
    assert "ganymede resume RUN" in record.findings[0].advice[0]
    assert record.images_seen == record.metrics["trained"].samples == 25 * 64


def test_a_schedule_too_short_for_pictures_is_told_to_be_longer(made: Made) -> None:
    record = made("convolutions, 1.2 kimg")[1].record
    assert record.metrics["trained"].value == 1
    assert record.verdict == "undertrained"
    assert record.findings[0].because[0].startswith("coverage is ")


def test_a_collapse_names_what_is_missing(made: Made) -> None:
    record = made("D learns nearly nothing")[1].record
    assert record.detail.count("digit ") >= 5
    assert "missing_share is" in record.detail


def test_a_divergence_names_the_term_and_survives_as_a_note_in_the_run(made: Made) -> None:
    path, diagnosis = made("plain descent, rate 2")
    assert "g/adversarial became" in diagnosis.record.detail
    assert Run.open(path).diverged_path.read_text().strip() in diagnosis.record.detail


def test_the_page_is_one_file_offline_with_every_figure(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.diagnose.figures.EMBEDDED", 40)  # t-SNE takes seconds
    path = shutil.copytree(made("D learns nearly nothing")[0], tmp_path / "run")
    diagnosis = made("D learns nearly nothing")[1]
    page = Page(write_diagnosis(Run.open(path), diagnosis).read_text())
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "Mode collapse" in page.text
    assert "What to do" in page.text
    names = {"modes", "missing", "neighbours", "walks", "tsne", "spectrum"}
    figures = {p.stem: p for p in (path / "diagnosis").glob("*.png")}
    assert figures.keys() == names
    for figure in figures.values():
        Image.open(io.BytesIO(figure.read_bytes())).verify()
    assert len(page.sources) == len(names) + len(list((path / "samples").glob("*.png")))
    assert read_record(path / "diagnosis" / "diagnosis.json") == diagnosis.record


def test_a_run_that_diverged_before_its_first_checkpoint_has_a_page_too(
    made: Made, tmp_path: Path
) -> None:
    path = shutil.copytree(made("plain descent, rate 2")[0], tmp_path / "run")
    shutil.rmtree(path / "checkpoints")
    (path / "checkpoints").mkdir()
    diagnosis = diagnose(path)
    assert diagnosis.record.verdict == "divergence"
    assert diagnosis.seen is None
    assert "Divergence" in write_diagnosis(Run.open(path), diagnosis).read_text()


def test_the_same_run_gets_the_same_diagnosis(made: Made) -> None:
    path, diagnosis = made("8 pictures")
    assert diagnose(path, samples=400).record == diagnosis.record


def test_the_command_tells_and_answers_with_the_page(made: Made, tmp_path: Path, cli: Cli) -> None:
    path = shutil.copytree(made("plain descent, rate 2")[0], tmp_path / "run")
    done = cli("diagnose", path)
    assert (done.code, done.out) == (0, f"{path}/diagnosis/report.html\n")
    assert done.err.startswith("divergence\n")
    assert "lower the learning rates" in done.err
    assert json.loads((path / "diagnosis/diagnosis.json").read_text())["verdict"] == "divergence"


def test_what_is_no_run_or_has_nothing_to_look_at_is_one_line(cli: Cli, npz: Path) -> None:
    assert "not a run folder" in cli("diagnose", "nowhere").err
    train(tiny_config(npz), Path("r"), Silent(), never)
    for path in checkpoints(Path("r/checkpoints")):
        shutil.rmtree(path)
    done = cli("diagnose", "r")
    assert done.code == 2
    assert "holds no checkpoint yet" in done.err


def test_a_run_that_diverged_after_a_checkpoint_is_looked_at(npz: Path, tmp_path: Path) -> None:
    train(tiny_config(npz), tmp_path / "r", Silent(), after(9))
    note = Run.open(tmp_path / "r").diverged_path
    note.write_text("d/adversarial became nan before 72 images")
    diagnosis = diagnose(tmp_path / "r", samples=60)
    assert diagnosis.record.verdict == "divergence"
    assert diagnosis.record.detail.startswith("d/adversarial became nan")
    assert diagnosis.seen is not None
    resume(tmp_path / "r", Silent(), never)
    assert not note.exists()
    assert "diverged" not in diagnose(tmp_path / "r", samples=60).record.metrics


def test_changed_data_is_refused(npz: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(npz, tmp_path / "own.npz"))
    train(tiny_config(source), tmp_path / "r", Silent(), never)
    write_npz(source, seed=7)
    with pytest.raises(CheckpointError, match="is not the data that"):
        diagnose(tmp_path / "r")


@pytest.mark.parametrize("system", ["autoencoder", "vae", "cgan"])
def test_what_a_generator_is_given_decides_what_is_looked_at(
    system: str, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.train.write_report", lambda run: None)
    train(tiny_config(npz, system), tmp_path / "r", Silent(), never)
    diagnosis = diagnose(tmp_path / "r", samples=60)
    assert (diagnosis.seen is None) == (system == "autoencoder")  # it draws nothing
    if diagnosis.seen is not None:
        assert diagnosis.seen.pictures.shape == (60, 16, 16, 1)
        assert len(diagnosis.seen.walks) == 6 * 9
