"""``ganymede train``, ``resume`` and ``estimate`` as a user meets them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import ganymede
from tests.training.tiny import tiny_config
from training.config import dump_config, preset_names
from training.progress import ProgressBar
from training.run import load_run
from training.trainer import Tick


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Cli:
    """The command line, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str | Path) -> Done:
        self._monkeypatch.setattr(sys, "argv", ["ganymede", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            ganymede.main()
        code = caught.value.code
        return Done(code if isinstance(code, int) else 0, *self._capsys.readouterr())


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("training.train.write_report", lambda run: None)
    return Cli(capsys, monkeypatch)


@pytest.fixture
def preset(npz: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_config(tiny_config(npz)))
    return path


def test_train_answers_with_the_run_s_path_and_tells_what_is_next(cli: Cli, preset: Path) -> None:
    done = cli("train", preset, "--set", "schedule.seed=3")
    assert done.code == 0
    assert done.out == "runs/00001-tiny\n"
    assert "runs/00001-tiny/report.html" in done.err
    assert "ganymede export runs/00001-tiny --name NAME" in done.err
    loaded = load_run(Path("runs/00001-tiny"))
    assert loaded.images_seen == 128
    assert loaded.config.schedule.seed == 3
    assert cli("train", preset).out == "runs/00002-tiny\n"


def test_train_refuses_a_folder_in_use_in_one_line(cli: Cli, preset: Path) -> None:
    assert cli("train", preset, "--out", "mine").out == "mine\n"
    done = cli("train", preset, "--out", "mine")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert "ganymede resume mine" in done.err


def test_train_without_a_preset_lists_them(cli: Cli) -> None:
    done = cli("train")
    assert done.code == 2
    assert all(name in done.err for name in preset_names())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cgan-fashion-fsat"], "did you mean 'cgan-fashion-fast'?"),
        (["missing.yaml"], "missing.yaml cannot be read as a preset"),
        (["gan-fashion-fast", "--set", "schedule.kimgs=1"], "did you mean 'schedule.kimg'?"),
        (["gan-fashion-fast", "--time-budget", "soon"], "90s, 10m or 1.5h"),
        (["gan-fashion-fast", "--set", "data.source=nowhere.npz"], "nowhere.npz"),
        (["dcgan-fashion-fast", "--set", "data.size=30"], "choose a near size, 24, 28, 32"),
    ],
)
def test_train_refuses_what_it_cannot_do_in_one_line_and_leaves_nothing(
    arguments: list[str], told: str, cli: Cli
) -> None:
    done = cli("train", *arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert done.err.startswith("ganymede: ")
    assert done.err.count("\n") == 1
    assert not Path("runs").exists()


def test_train_stops_at_its_time_budget_and_resume_goes_on(cli: Cli, preset: Path) -> None:
    done = cli("train", preset, "--time-budget", "0.001s")
    assert (done.code, done.out) == (0, "runs/00001-tiny\n")
    assert "the time budget is used up" in done.err
    assert "Go on with: ganymede resume runs/00001-tiny" in done.err
    assert load_run(Path("runs/00001-tiny")).images_seen == 0
    assert "the time budget" in cli("resume", "runs/00001-tiny", "--time-budget", "0.001").err
    done = cli("resume", "runs/00001-tiny")
    assert (done.code, done.out) == (0, "runs/00001-tiny\n")
    assert load_run(Path("runs/00001-tiny")).images_seen == 128


def test_ctrl_c_saves_and_says_how_to_resume(
    cli: Cli, preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(ProgressBar):
        def tick(self, tick: Tick, images_per_s: float) -> None:
            super().tick(tick, images_per_s)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("training.commands.ProgressBar", Impatient)
    done = cli("train", preset)
    assert (done.code, done.out) == (130, "runs/00001-tiny\n")
    assert "SIGINT" in done.err
    assert "Go on with: ganymede resume runs/00001-tiny" in done.err
    assert load_run(Path("runs/00001-tiny")).images_seen == 32


def test_resume_of_what_is_no_run_is_one_line(cli: Cli) -> None:
    done = cli("resume", "nowhere")
    assert done.code == 2
    assert done.err == "ganymede: nowhere holds no config.yaml: it is not a run folder\n"


def test_estimate_tells_steps_time_and_parameters(cli: Cli, preset: Path) -> None:
    done = cli("estimate", preset, "--set", "schedule.kimg=80")
    assert done.code == 0
    assert done.out.startswith("tiny: 1 x 10,000 steps of 8 images, ")
    assert "ms each in float32: about " in done.out
    assert done.out.count("\n") == 1
    assert not Path("runs").exists()


def test_estimate_of_a_run_takes_its_settings(cli: Cli, preset: Path) -> None:
    cli("train", preset, "--set", "schedule.batch=16")
    assert "8 steps of 16 images" in cli("estimate", "runs/00001-tiny").out
    done = cli("estimate", "runs/00001-tiny", "--set", "schedule.kimg=1")
    assert done.code == 2
    assert "settings are fixed" in done.err


@pytest.mark.parametrize("command", ["train", "resume", "estimate"])
def test_help_is_short_and_names_the_options(command: str, cli: Cli) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    option = "--set" if command != "resume" else "--time-budget"
    assert option in done.out


# The progress bar.


def tick(images: int) -> Tick:
    return Tick(images, {"d/a": 1.0}, {"d_real": 0.625, "d_fake": 0.375})


def test_without_a_terminal_progress_is_a_line_a_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("mine") as bar:
        bar.begin(0, 0, 1000)
        for images in range(10, 1010, 10):
            bar.tick(tick(images), 200.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    told = "mine 50% 0 kimg 200 img/s d_real 0.62 d_fake 0.38 2 s left"
    assert " ".join(lines[4].split()) == told
    assert "0 s left" in lines[-1]


@pytest.mark.parametrize("name", ["mine", "[red]mine[/blue]"])
def test_on_a_terminal_progress_is_a_bar_for_each_stage(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "160"}
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    with ProgressBar(name) as bar:
        bar.begin(0, 0, 1000)
        bar.tick(tick(1000), 200.0)
        bar.begin(1, 500, 1000)
        bar.tick(tick(750), 200.0)
    shown = capsys.readouterr().err
    assert f"{name}, stage 1" in shown
    assert "75%" in shown
    assert "d_real 0.62" in shown
