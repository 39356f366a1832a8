"""Whole runs: resumed bit for bit, interrupted, killed, refused, diverging, and in stages."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.test_trainer import batches, tiny_state
from tests.training.tiny import (
    Silent,
    after,
    never,
    newest,
    same,
    stats,
    tiny_config,
    write_npz,
)
from training import perceptrons
from training.checkpoint import checkpoints
from training.config import dump_config, load_config
from training.errors import CheckpointError, ConfigError, DataError, Diverged, RunExists
from training.recipe import Batch, Recipe, Shape, Terms
from training.recipes import SYSTEMS, System, gan
from training.run import load_run
from training.stopping import Stop
from training.train import resume, sample_grid, train
from training.trainer import Tick

ROOT = Path(__file__).resolve().parents[2]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "perceptrons": ("gan", {}),
    "sgd-maxout-dropout": (
        "gan",
        {
            "discriminator": "maxout",
            "dropout": 0.5,
            "prior": "uniform",
            "d_optimizer": {"kind": "sgd", "lr": 0.01, "momentum": 0.5},
        },
    ),
    "channels-last-spectral": ("dcgan", {"d_steps": 2, "g_optimizer": {"decay_from": 0.3}}),
    "batch-norm-in-both": ("dcgan", {"d_norm": "batch", "upsampling": "transposed"}),
    "conditional-mismatch": ("cgan", {"mismatch": 0.5, "r1": 0.1}),
}


def files(folder: Path) -> dict[str, str]:
    """Every file below a folder, by the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def through(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Runs that nobody interrupted, by case; made when first asked for."""
    folder = tmp_path_factory.mktemp("through")

    def run(case: str) -> Path:
        if not (folder / case).exists():
            system, settings = CASES[case]
            assert train(tiny_config(npz, system, settings), folder / case, Silent(), never)
        return folder / case

    return run


# Resuming.


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take longer than these runs."""
    monkeypatch.setattr("training.train.write_report", lambda run: None)


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("steps", [8, 5], ids=["at-a-tick", "inside-a-tick"])
@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_run_bit_for_bit(
    case: str, steps: int, through: Callable[[str], Path], npz: Path, tmp_path: Path
) -> None:
    system, settings = CASES[case]
    path = tmp_path / "run"
    assert not train(tiny_config(npz, system, settings), path, Silent(), after(steps))
    torch.manual_seed(12345)  # another process would not have our random state
    assert resume(path, Silent(), never)
    whole = through(case)
    assert same(newest(path), newest(whole))
    assert stats(path) == stats(whole)
    last = "samples/00-0000000128.png"
    assert (path / last).read_bytes() == (whole / last).read_bytes()


@pytest.mark.usefixtures("without_report")
def test_a_run_resumed_again_and_again_is_the_run(
    through: Callable[[str], Path], npz: Path, tmp_path: Path
) -> None:
    path, case = tmp_path / "run", "channels-last-spectral"
    finished = train(tiny_config(npz, *CASES[case]), path, Silent(), after(1))
    times = 1
    while not finished:
        finished = resume(path, Silent(), after(3))
        times += 1
    assert times == 6
    assert same(newest(path), newest(through(case)))
    assert stats(path) == stats(through(case))


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    through: Callable[[str], Path], npz: Path, tmp_path: Path
) -> None:
    class Killing(Silent):
        def tick(self, tick: Tick, images_per_s: float) -> None:
            raise RuntimeError("killed")

    path = tmp_path / "run"
    with pytest.raises(RuntimeError, match="killed"):
        train(tiny_config(npz), path, Killing(), never)
    assert checkpoints(path / "checkpoints") == []
    assert len(stats(path)) == 1
    assert resume(path, Silent(), never)
    assert same(newest(path), newest(through("perceptrons")))
    assert stats(path) == stats(through("perceptrons"))


def test_resuming_a_finished_run_changes_nothing_but_its_report(
    through: Callable[[str], Path],
) -> None:
    path = through("perceptrons")
    (path / "report.html").unlink(missing_ok=True)  # as if killed just before it was written
    before, watcher = files(path), Silent()
    assert resume(path, watcher, never)
    found = files(path)
    assert found.pop("report.html")
    assert found == before
    assert (watcher.begun, watcher.ticks) == ([], [])


@pytest.mark.usefixtures("without_report")
def test_a_resumed_run_keeps_its_precision(npz: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.resolve", lambda precision, *_: "bfloat16")
        train(tiny_config(npz, precision="auto"), path, Silent(), after(3))
    assert load_config(path / "config.yaml").schedule.precision == "bfloat16"
    resume(path, Silent(), never)
    assert load_config(path / "config.yaml").schedule.precision == "bfloat16"


@pytest.mark.usefixtures("without_report")
def test_bfloat16_resumes_bit_for_bit(npz: Path, tmp_path: Path) -> None:
    config = tiny_config(npz, "dcgan", {"r1": 0.1}, precision="bfloat16")
    train(config, tmp_path / "whole", Silent(), never)
    train(config, tmp_path / "run", Silent(), after(5))
    resume(tmp_path / "run", Silent(), never)
    assert same(newest(tmp_path / "run"), newest(tmp_path / "whole"))


@pytest.mark.usefixtures("without_report")
def test_changed_data_refuses_to_resume(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "data.npz")
    path = tmp_path / "run"
    train(tiny_config(source), path, Silent(), after(3))
    before = files(path)
    write_npz(source, seed=1)
    with pytest.raises(CheckpointError, match=r"is not the data that .* learnt from"):
        resume(path, Silent(), never)
    source.unlink()
    with pytest.raises(DataError):
        resume(path, Silent(), never)
    assert files(path) == before


def test_what_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run folder"):
        resume(tmp_path, Silent(), never)


# Starting.


def test_a_second_start_into_a_run_refuses_and_changes_nothing(
    through: Callable[[str], Path], npz: Path
) -> None:
    path = through("perceptrons")
    before = files(path)
    with pytest.raises(RunExists, match="ganymede resume"):
        train(tiny_config(npz), path, Silent(), never)
    assert files(path) == before


@pytest.mark.parametrize("fault", ["classes", "size", "source"])
def test_what_cannot_be_trained_leaves_no_folder(fault: str, npz: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", images=np.zeros((4, 16, 16), np.uint8))
    config = {
        "classes": tiny_config(tmp_path / "plain.npz", "cgan"),
        "size": tiny_config(npz, "dcgan").model_copy(
            update={"data": tiny_config(npz).data.model_copy(update={"size": 30})}
        ),
        "source": tiny_config(tmp_path / "missing"),
    }[fault]
    with pytest.raises((ConfigError, DataError)):
        train(config, tmp_path / "run", Silent(), never)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_report")
def test_the_watcher_hears_of_every_tick(npz: Path, tmp_path: Path) -> None:
    watcher = Silent()
    train(tiny_config(npz), tmp_path / "run", watcher, after(9))
    resume(tmp_path / "run", watcher, never)
    assert watcher.begun == [(0, 0, 128), (0, 72, 128)]
    assert watcher.ticks == [32, 64, 96, 128]


def test_stats_are_one_json_object_a_tick(through: Callable[[str], Path]) -> None:
    lines = (through("perceptrons") / "stats.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["images"] for row in rows] == [32, 64, 96, 128]
    for row in rows:
        assert row["stage"] == 0
        assert row["seconds"] > 0
        assert row["images_per_s"] == pytest.approx(32 / row["seconds"], rel=0.2)
        assert row["terms"].keys() == {"d/adversarial", "g/adversarial"}
        assert row["signals"].keys() >= {"d_real", "d_fake", "jsd", "diversity"}
        assert row["grad_norm"].keys() == row["rate"].keys() == {"d", "g"}


@pytest.mark.usefixtures("without_report")
def test_another_seed_is_another_run(
    through: Callable[[str], Path], npz: Path, tmp_path: Path
) -> None:
    train(tiny_config(npz, seed=1), tmp_path / "run", Silent(), never)
    assert not same(newest(tmp_path / "run"), newest(through("perceptrons")))


def test_a_run_can_be_resumed_from_another_folder(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(npz.parent)
    train(tiny_config(npz.name), tmp_path / "run", Silent(), after(1))
    assert load_config(tmp_path / "run" / "config.yaml").data.source == str(npz)
    monkeypatch.chdir(tmp_path)
    assert not resume(tmp_path / "run", Silent(), after(1))


def test_the_sample_grid_is_drawn_in_parts() -> None:
    sizes: list[int] = []
    state = tiny_state("gan")
    state.ema.recalibrate = lambda draws: None  # type: ignore[method-assign]
    state.ema.module.register_forward_hook(lambda module, z, made: sizes.append(len(made)))
    assert len(sample_grid(state, batches(), seed=0)) == 80
    assert sizes == [16] * 5


# Stopping.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_was(
    number: signal.Signals, through: Callable[[str], Path], npz: Path, tmp_path: Path
) -> None:
    class Signalling(Silent):
        def tick(self, tick: Tick, images_per_s: float) -> None:
            signal.raise_signal(number)

    path = tmp_path / "run"
    with Stop() as stop:
        assert not train(tiny_config(npz), path, Signalling(), stop)
    assert load_run(path).images_seen == 32
    assert (path / "report.html").exists()
    assert resume(path, Silent(), never)
    assert same(newest(path), newest(through("perceptrons")))
    assert stats(path) == stats(through("perceptrons"))


@pytest.mark.usefixtures("without_report")
def test_a_time_budget_stops_cleanly(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("training.stopping.time", Clock(clock))
    stop = Stop(budget_s=7)
    assert not train(tiny_config(npz), tmp_path / "run", Silent(), stop)
    assert load_run(tmp_path / "run").images_seen == 48  # asked at 1, 2, ... s: six steps
    assert "budget" in stop.reason


class Clock:
    """A second passes whenever it is looked at."""

    def __init__(self, seconds: Iterator[int]) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        return next(self._seconds)


# Real processes.


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, ROOT / "ganymede.py", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_progress(process: subprocess.Popen[str]) -> None:
    """Until it reports the first tenth of its run; where no terminal is, that is a line."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "kimg" in line, line + process.stderr.read()


def test_sigterm_to_a_real_process_saves_and_says_how_to_resume(npz: Path, tmp_path: Path) -> None:
    preset, path = tmp_path / "long.yaml", tmp_path / "run"
    preset.write_text(dump_config(tiny_config(npz, kimg=40, tick_kimg=0.4)))
    process = start("train", preset, "--out", path)
    wait_for_progress(process)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopping after this step; Ctrl-C again to abort" in stderr
    assert f"Go on with: ganymede resume {path}" in stderr
    assert stdout == f"{path}\n"
    stopped_at = load_run(path).images_seen
    assert 4000 <= stopped_at < 40_000
    watcher = Silent()
    resume(path, watcher, after(1))
    assert watcher.begun == [(0, stopped_at, 40_000)]


@pytest.mark.usefixtures("without_report")
def test_kill_9_of_a_real_process_leaves_a_checkpoint_to_go_on_from(
    npz: Path, tmp_path: Path
) -> None:
    """It writes a checkpoint at every step: a kill is nearly sure to fall into one."""
    preset, path = tmp_path / "long.yaml", tmp_path / "run"
    config = tiny_config(npz, kimg=0.8, tick_kimg=0.008, checkpoint_kimg=0.008)
    preset.write_text(dump_config(config))
    process = start("train", preset, "--out", path)
    wait_for_progress(process)
    process.kill()
    process.communicate()
    killed_at = load_run(path).images_seen
    resume(path, Silent(), after(2))
    assert load_run(path).images_seen == killed_at + 16
    whole = tmp_path / "whole"
    train(config, whole, Silent(), after((killed_at + 16) // 8))
    assert same(newest(path), newest(whole))
    assert stats(path) == stats(whole)


# Divergence.


class Diverging(gan.GAN):
    """Its discriminator's loss is lost after 72 images."""

    def d_loss(self, batch: Batch, images: int) -> Terms:
        terms = super().d_loss(batch, images)
        if images >= 72:
            terms["extra"] = terms["adversarial"] * float("inf")
        return terms


def test_divergence_names_the_term_and_keeps_the_last_good_checkpoint(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan, "GAN", Diverging)
    path = tmp_path / "run"
    with pytest.raises(Diverged, match="d/extra became nan before 96 images") as told:
        train(tiny_config(npz), path, Silent(), never)
    assert f"{path / 'checkpoints' / '00-0000000064'} is from before" in str(told.value)
    assert [row["images"] for row in stats(path)] == [32, 64]
    kept = newest(path)
    assert load_run(path).images_seen == 64
    assert all(t.isfinite().all() for t in kept.values() if t.is_floating_point())
    with pytest.raises(Diverged):
        resume(path, Silent(), after(3))  # stopped between ticks, it is not kept either
    assert same(newest(path), kept)


@pytest.mark.usefixtures("without_report")
def test_divergence_before_the_first_checkpoint_promises_none(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan, "GAN", Diverging)
    with pytest.raises(Diverged, match="there is no checkpoint from before"):
        train(tiny_config(npz, checkpoint_kimg=1), tmp_path / "run", Silent(), never)


# Stages.


class Refined(nn.Module):
    """A generator that corrects the pictures of the stage before."""

    def __init__(self, coarse: nn.Module) -> None:
        super().__init__()
        self.coarse, self.latent = coarse, coarse.latent
        self.fine = nn.Conv2d(1, 1, 3, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Pictures in [-1, 1]."""
        pictures: Tensor = self.coarse(z)
        corrected: Tensor = pictures + self.fine(pictures)
        return corrected.clamp(-1, 1)


def two_stages(config: gan.GANConfig, image: Shape) -> Iterator[Recipe]:
    """A pair, then a finer generator that holds the trained one."""
    first = next(gan.stages(config, image))
    yield first
    second = next(gan.stages(config, image))
    second.generator = Refined(first.generator)
    yield second


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SYSTEMS, "gan", System(two_stages))


@pytest.mark.parametrize(
    "steps", [6, 16, 22], ids=["inside-the-first", "between-them", "inside-the-second"]
)
@pytest.mark.usefixtures("staged", "without_report")
def test_a_run_of_two_stages_resumes_in_either(steps: int, npz: Path, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "run"
    assert train(tiny_config(npz), whole, Silent(), never)
    assert not train(tiny_config(npz), path, Silent(), after(steps))
    watcher = Silent()
    assert resume(path, watcher, never)
    assert same(newest(path), newest(whole))
    assert stats(path) == stats(whole)
    assert watcher.begun[-1][0] == 1
    names = [[p.name for p in checkpoints(run / "checkpoints")] for run in (path, whole)]
    assert names[0][-1] == names[1][-1] == "01-0000000128"


@pytest.mark.usefixtures("staged")
def test_a_run_of_two_stages_tells_and_loads_both(npz: Path, tmp_path: Path) -> None:
    path, watcher = tmp_path / "run", Silent()
    train(tiny_config(npz), path, watcher, never)
    assert watcher.begun == [(0, 0, 128), (1, 0, 128)]
    assert [(row["stage"], row["images"]) for row in stats(path)] == [
        (stage, images) for stage in (0, 1) for images in (32, 64, 96, 128)
    ]
    loaded = load_run(path)
    assert isinstance(loaded.recipe.generator, Refined)
    assert loaded.images_seen == 128
    kept = newest(path)
    for name, value in loaded.recipe.generator.state_dict().items():
        assert torch.equal(value, kept[f"generator.{name}"]), name
    assert "stage 1, after 128 images" in (path / "report.html").read_text()


@pytest.mark.usefixtures("staged", "without_report")
def test_a_run_stopped_in_its_first_stage_loads_that(npz: Path, tmp_path: Path) -> None:
    train(tiny_config(npz), tmp_path / "run", Silent(), after(6))
    loaded = load_run(tmp_path / "run")
    assert isinstance(loaded.recipe.generator, perceptrons.Generator)
    assert loaded.images_seen == 48
