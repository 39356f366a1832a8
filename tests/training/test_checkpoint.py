"""Everything comes back, and a kill at any moment leaves the last checkpoint whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file

from tests.training.test_trainer import batches, tiny_state
from tests.training.tiny import after, tiny_config, tiny_recipe
from training.checkpoint import (
    State,
    checkpoints,
    load_checkpoint,
    load_generator,
    save_checkpoint,
)
from training.errors import CheckpointError
from training.trainer import fit

FILES = ["recipe.safetensors", "generator.safetensors", "progress.safetensors", "progress.json"]
ADAM: dict[str, Any] = {"kind": "adam", "lr": 0.01}
SGD: dict[str, Any] = {"kind": "sgd", "lr": 0.01, "momentum": 0.9}


def trained(system: str = "gan", steps: int = 6, **settings: Any) -> State:  # noqa: ANN401
    """A state in the middle of a tick."""
    state = tiny_state(system, **settings)
    list(fit(state, batches(), tiny_config("none").schedule, fabric(), after(steps)))
    return state


def fabric() -> Fabric:
    return Fabric(devices=1, accelerator="cpu")


def moments(state: State) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each parameter beside each tensor that its optimiser keeps for it."""
    return [
        (parameter, value)
        for optimizer in state.optimizers.values()
        for parameter, values in optimizer.state.items()
        for value in values.values()
    ]


@pytest.mark.parametrize("optimizer", [ADAM, SGD], ids=["adam", "sgd"])
@pytest.mark.parametrize("system", ["gan", "dcgan"])
def test_everything_comes_back(system: str, optimizer: dict[str, Any], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"g_optimizer": optimizer, "d_optimizer": optimizer}
    state = trained(system, **settings)
    draws = torch.get_rng_state()
    path = save_checkpoint(state, tmp_path)
    found = tiny_state(system, **settings)
    torch.manual_seed(99)
    load_checkpoint(path, found)
    assert torch.equal(torch.get_rng_state(), draws)
    assert (found.images, found.batches, found.stage) == (48, 12, 0)
    assert found.log.counts == state.log.counts == {"d/adversarial": 2, "g/adversarial": 2}
    assert found.log.means() == state.log.means()
    for one, other in ((state.recipe, found.recipe), (state.ema.module, found.ema.module)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    for name in ("d", "g"):
        saved = state.optimizers[name].state_dict()["state"]
        kept = found.optimizers[name].state_dict()["state"]
        assert kept.keys() == saved.keys() != set()
        for index, values in saved.items():
            assert all(torch.equal(value, kept[index][key]) for key, value in values.items())


def test_moments_lie_in_memory_like_the_weights_they_belong_to(tmp_path: Path) -> None:
    """A fused optimiser walks both by address."""
    path = save_checkpoint(trained("dcgan"), tmp_path)
    found = tiny_state("dcgan")
    load_checkpoint(path, found)
    pairs = [(p, v) for p, v in moments(found) if v.shape == p.shape]
    assert any(p.is_contiguous(memory_format=torch.channels_last) for p, _ in pairs if p.ndim == 4)
    assert all(value.stride() == parameter.stride() for parameter, value in pairs)


def test_averaged_generator_goes_into_the_recipe(tmp_path: Path) -> None:
    state = trained("dcgan")
    path = save_checkpoint(state, tmp_path)
    recipe = tiny_recipe("dcgan")
    assert load_generator(path, recipe) == 48
    for name, value in recipe.generator.state_dict().items():
        assert torch.equal(value, state.ema.module.state_dict()[name]), name
    own = state.recipe.generator.state_dict()
    assert any(not torch.equal(own[n], v) for n, v in recipe.generator.state_dict().items())


def test_nothing_is_pickled(tmp_path: Path) -> None:
    assert sorted(p.name for p in save_checkpoint(trained(), tmp_path).iterdir()) == sorted(FILES)


def test_the_newest_two_of_a_stage_are_kept_and_those_of_other_stages_left_alone(
    tmp_path: Path,
) -> None:
    state = trained()
    for images in (8, 16, 24, 1_000_000):
        state.images = images
        save_checkpoint(state, tmp_path)
    state.stage, state.images = 1, 8
    save_checkpoint(state, tmp_path)
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == ["00-0000000024", "00-0001000000", "01-0000000008"]
    assert [path.name for path in checkpoints(tmp_path, 1)] == ["01-0000000008"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    (tmp_path / ".00-0000000008.partial").mkdir()
    assert checkpoints(tmp_path) == []
    assert checkpoints(tmp_path / "missing") == []


def test_what_is_there_already_is_not_risked(tmp_path: Path) -> None:
    state = trained()
    path = save_checkpoint(state, tmp_path)
    before = {p.name: (p.stat().st_ino, p.read_bytes()) for p in path.iterdir()}
    assert save_checkpoint(state, tmp_path) == path
    assert {p.name: (p.stat().st_ino, p.read_bytes()) for p in path.iterdir()} == before


class Killed(BaseException):
    """Not an Exception: nothing may tidy up after it, as after kill -9."""


def kill_at(operation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die before the given one of the operations that touch the disk, or in the middle of it."""
    done = 0

    def counted(real: Callable[..., Any], *, half: bool = False) -> Callable[..., Any]:
        def dying(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            nonlocal done
            done += 1
            if done != operation:
                return real(*arguments, **named)
            if half:  # one file of the folder is gone
                next(Path(arguments[0]).iterdir()).unlink()
            raise Killed

        return dying

    monkeypatch.setattr("training.checkpoint.save_file", counted(save_file))
    monkeypatch.setattr(Path, "write_text", counted(Path.write_text))
    monkeypatch.setattr(Path, "mkdir", counted(Path.mkdir))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree, half=True))


def test_a_kill_at_any_moment_of_writing_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    state = trained()
    for images in (8, 16):
        state.images = images
        save_checkpoint(state, tmp_path)
    images, survived = 16, 0
    for operation in range(1, 100):
        state.images += 8
        with pytest.MonkeyPatch.context() as patch:
            kill_at(operation, patch)
            try:
                save_checkpoint(state, tmp_path)
            except Killed:
                survived += 1
            else:
                break
        whole = tiny_state()
        load_checkpoint(checkpoints(tmp_path)[-1], whole)
        assert whole.images in (images, state.images)
        images = whole.images
        for path in checkpoints(tmp_path):
            load_checkpoint(path, tiny_state())
    assert survived > 10
    assert len(list(tmp_path.iterdir())) == 2, "what the kills left behind is swept"


@pytest.mark.parametrize("how", ["missing", "empty", "cut"])
@pytest.mark.parametrize("name", FILES)
def test_a_broken_checkpoint_is_one_clear_line(name: str, how: str, tmp_path: Path) -> None:
    path = save_checkpoint(trained(), tmp_path)
    whole = (path / name).read_bytes()
    (path / name).unlink()
    if how != "missing":
        (path / name).write_bytes(b"" if how == "empty" else whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="delete that folder to go on from the") as caught:
        load_checkpoint(path, tiny_state())
    assert "\n" not in str(caught.value)
    if name != "progress.safetensors":
        with pytest.raises(CheckpointError):
            load_generator(path, tiny_recipe("gan"))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(trained(), tmp_path)
    with pytest.raises(CheckpointError, match=r"other networks .* put config\.yaml back") as caught:
        load_checkpoint(path, tiny_state("gan", hidden=9))
    assert "\n" not in str(caught.value)
    assert "delete" not in str(caught.value), "it is whole, and hours of work"
    assert len(str(caught.value)) < 400 + len(str(path))
    with pytest.raises(CheckpointError, match="other networks"):
        load_generator(path, tiny_recipe("gan", hidden=9))
