"""The run folder: taken once, written whole, read back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.tiny import Silent, never, tiny_config
from training.checkpoint import checkpoints
from training.errors import CheckpointError, RunExists
from training.labelled import ModulatedGenerator
from training.report import write_report
from training.run import Run, load_run, new_run_path
from training.train import train


@pytest.fixture(scope="module")
def finished(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of cgan; tests read it, and copy it to break it."""
    path = tmp_path_factory.mktemp("runs") / "00001-tiny"
    train(tiny_config(npz, "cgan"), path, Silent(), never)
    return path


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def tick(stage: int, images: int) -> dict[str, Any]:
    """A line of stats.jsonl."""
    numbers = {name: {"d": 1.0} for name in ("terms", "signals", "grad_norm", "rate")}
    return {"stage": stage, "images": images, **numbers, "seconds": 1.0, "images_per_s": 8.0}


def test_run_paths_count_up(tmp_path: Path) -> None:
    assert new_run_path("tiny", tmp_path / "runs") == tmp_path / "runs" / "00001-tiny"
    for name in ("00001-a", "00007-b", "notes-c", "123-d"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert new_run_path("tiny", tmp_path / "runs").name == "00008-tiny"


def test_a_new_folder_is_taken_once(tmp_path: Path) -> None:
    Run.create(tmp_path / "deep" / "run")
    with pytest.raises(RunExists, match="ganymede resume"):
        Run.create(tmp_path / "deep" / "run")


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    assert Run.create(tmp_path).checkpoints.is_dir()


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_way_is_one_clear_line(out: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunExists, match="choose another --out"):
        Run.create(tmp_path / out)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunExists):
        Run.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_of_two_that_start_at_once_one_gets_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.run.any", lambda _: False, raising=False)  # both saw it empty
    Run.create(tmp_path)
    with pytest.raises(RunExists):
        Run.create(tmp_path)


def test_stats_leave_out_a_line_cut_short(tmp_path: Path) -> None:
    run = Run.create(tmp_path)
    assert list(run.stats()) == []
    line = json.dumps(tick(0, 8))
    run.stats_path.write_text(f"{line}\n{line[:-5]}")
    assert list(run.stats()) == [tick(0, 8)]


@pytest.mark.parametrize(
    "line",
    [b"[]", b"{}", b"3", b"null", b"\xff\xfe", b'{"stage": "0", "images": 8}', b"[" * 99_999],
)
def test_stats_leave_out_what_is_no_tick(line: bytes, tmp_path: Path) -> None:
    run = Run.create(tmp_path)
    ticks = [json.dumps(tick(0, images)).encode() for images in (8, 16)]
    odd = json.dumps(tick(0, 12) | {"terms": {"d": "much"}}).encode()
    run.stats_path.write_bytes(b"\n".join([ticks[0], line, odd, ticks[1]]))
    assert list(run.stats()) == [tick(0, 8), tick(0, 16)]
    run.write_config(tiny_config("x"))
    assert write_report(run).exists()


def test_rewinding_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    run = Run.create(tmp_path)
    rows = [tick(s, i) for s, i in [(0, 8), (0, 16), (1, 8), (1, 16)]]
    run.stats_path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.rewind(1, 8)
    assert list(run.stats()) == rows[:3]
    run.rewind(0, 8)
    assert list(run.stats()) == rows[:1]
    run.rewind(0, 0)
    assert run.stats_path.read_text() == ""


def test_a_kill_while_rewinding_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path)
    run.stats_path.write_text(json.dumps(tick(0, 8)) + "\n")

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run.rewind(0, 0)
    assert list(run.stats()) == [tick(0, 8)]


def test_a_finished_run_is_complete(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "config.yaml", "dataset.json", "stats.jsonl", "samples", "checkpoints", "report.html",
    }  # fmt: skip
    assert [p.name for p in checkpoints(finished / "checkpoints")] == [
        "00-0000000064",
        "00-0000000128",
    ]
    assert sorted(p.name for p in (finished / "samples").iterdir()) == [
        "00-0000000064.png",
        "00-0000000128.png",
    ]


def test_a_loaded_run_samples_with_the_averaged_weights(finished: Path) -> None:
    loaded = load_run(finished)
    kept = load_file(checkpoints(finished / "checkpoints")[-1] / "generator.safetensors")
    for name, value in loaded.recipe.generator.state_dict().items():
        assert torch.equal(value, kept[name]), name
    assert not loaded.recipe.training
    assert not any(p.requires_grad for p in loaded.recipe.parameters())
    assert loaded.images_seen == 128
    assert loaded.config.preset == "tiny"
    assert loaded.config.recipe.system == "cgan"
    assert loaded.path == finished
    pictures = loaded.recipe.generator(torch.zeros(3, 4), torch.arange(3))
    assert pictures.shape == (3, 1, 16, 16)


def test_a_loaded_run_knows_its_data(finished: Path) -> None:
    dataset = load_run(finished).dataset
    assert dataset["name"] == "stripes"
    assert dataset["classes"] == ["bag", "boot", "coat", "shirt"]
    assert (dataset["images"], dataset["channels"], dataset["size"]) == (48, 1, 16)
    assert len(dataset["fingerprint"]) == 64
    assert {"licence", "attribution"} <= dataset.keys()


def test_statistics_of_the_kept_generator_belong_to_its_averaged_weights(finished: Path) -> None:
    """Recalibrated: its first batch norm sees features of that mean and variance."""
    generator = load_run(finished).recipe.generator
    assert isinstance(generator, ModulatedGenerator)
    torch.manual_seed(0)
    features = generator.first(torch.randn(4096, 4))
    norm = generator.first_norm.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)), rtol=0.3, atol=0.1)
    torch.testing.assert_close(norm.running_var, features.var((0, 2, 3)), rtol=0.3, atol=0.1)
    assert norm.num_batches_tracked == 40


def test_no_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run folder"):
        load_run(tmp_path)
    with pytest.raises(CheckpointError, match="not a run folder"):
        load_run(tmp_path / "missing")


def test_a_run_without_a_checkpoint_says_how_to_go_on(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint yet: `ganymede resume"):
        load_run(copy)


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]", '{"name": 3}'])
def test_a_broken_dataset_file_is_one_clear_line(content: str | None, copy: Path) -> None:
    (copy / "dataset.json").unlink()
    if content is not None:
        (copy / "dataset.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"dataset\.json is missing or broken"):
        load_run(copy)


def test_the_older_checkpoint_serves_when_the_newer_is_deleted(copy: Path) -> None:
    newest = checkpoints(copy / "checkpoints")[-1]
    (newest / "recipe.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="delete that folder"):
        load_run(copy)
    shutil.rmtree(newest)
    assert load_run(copy).images_seen == 64


def test_a_lost_stage_is_one_clear_line(copy: Path) -> None:
    newest = checkpoints(copy / "checkpoints")[-1]
    newest.rename(newest.with_name("01-0000000008"))
    shutil.rmtree(checkpoints(copy / "checkpoints")[0])
    with pytest.raises(CheckpointError, match="has lost the checkpoint of its stage 0"):
        load_run(copy)
