"""Two processes: what they compute together is what one computes alone, and one of them writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from tests.training.group import ACCUMULATED, CASES, TAKEN_OFF, short, slopes, walk
from tests.training.tiny import Silent, after, never, newest, same, stats, tiny_config, write_npz
from training import processes
from training.errors import ConfigError, ProcessLost
from training.launch import together
from training.recipes import SYSTEMS
from training.train import resume, train

# Relative: sums over halves and over all round differently. The bias of a layer before a norm has
# no slope but rounding, which Adam makes a step of as long as any: it is left out, and what it
# moves without moving a loss, the running mean and what is told by it, need only be near.
TOLERANCE = {"/terms/": 1e-5, "/signals/": 1e-3, "running_": 1e-3, "": 1e-4}
WITHIN_S = 900  # of a machine that has much else to do


class Pair:
    """What two processes found, by process, and the folder that they wrote to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = [load_file(folder / f"found-{k}.safetensors") for k in range(2)]

    def of(self, case: str) -> dict[str, Tensor]:
        """What the first found in this case."""
        prefix = f"{case}: "
        return {k.removeprefix(prefix): v for k, v in self.found[0].items() if k.startswith(prefix)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    source = write_npz(folder / "stripes.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.write_report", lambda run: None)
        train(short(source), folder / "by-one", Silent(), after(3))
        train(short(source), folder / "alone", Silent(), never)
    command = [sys.executable, "-m", "tests.training.group", str(folder)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Pair(folder)


def test_every_system_is_tried() -> None:
    assert {system for system, _ in CASES.values()} == set(SYSTEMS)


def close(
    found: dict[str, Tensor], expected: dict[str, Tensor], left_out: tuple[str, ...] = ()
) -> None:
    """All is near, but for what ends with a name that is left out."""
    assert found.keys() == expected.keys()
    assert all(any(name.endswith(end) for name in expected) for end in left_out)
    for name, value in expected.items():
        if name.endswith(left_out):
            continue
        if value.dtype.is_floating_point:
            scale = max(1.0, float(value.abs().max()))
            wrong = float((found[name] - value).abs().max()) / scale
            allowed = next(most for part, most in TOLERANCE.items() if part in name)
            assert wrong < allowed, f"{name}: {wrong}"
        else:
            assert torch.equal(found[name], value), name


@pytest.mark.parametrize("case", CASES)
def test_two_processes_compute_what_one_does(case: str, pair: Pair) -> None:
    system, settings = CASES[case]
    alone = walk(pair.folder / "stripes.npz", system, settings)
    close(pair.of(case), alone, TAKEN_OFF.get(case, ()))


def test_so_do_they_in_parts(pair: Pair) -> None:
    system, settings = CASES[ACCUMULATED]
    close(pair.of("in parts"), walk(pair.folder / "stripes.npz", system, settings, accumulate=2))


def test_a_slope_through_what_all_rows_share_is_that_of_one_process(pair: Pair) -> None:
    alone = slopes()
    close({name: pair.found[0][name] for name in alone}, alone)


def test_both_end_with_the_same_weights_averages_and_random_state(pair: Pair) -> None:
    assert same(*pair.found)


def test_one_of_them_writes(pair: Pair) -> None:
    assert (pair.folder / "run-0" / "report.html").is_file()
    assert not (pair.folder / "run-1").exists()


def test_when_one_is_told_to_stop_all_do_and_what_they_kept_one_process_takes_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.train.write_report", lambda run: None)
    stopped = pair.folder / "run-0"
    assert [path.name for path in (stopped / "checkpoints").iterdir()][-1].startswith("00-")
    assert max(row["images"] for row in stats(stopped)) == 16
    resume(stopped, Silent(), never)
    close(newest(stopped), newest(pair.folder / "alone"))
    assert len(stats(stopped)) == len(stats(pair.folder / "alone"))


def test_two_take_up_what_one_process_kept(pair: Pair) -> None:
    close(newest(pair.folder / "by-one"), newest(pair.folder / "alone"))


def test_shares_that_are_not_equal_are_refused_before_anything_is_written(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "count", lambda: 3)
    with pytest.raises(ConfigError, match=r"8 images at a time .* are not 3 equal shares"):
        train(tiny_config(npz), tmp_path / "run", Silent(), never)
    assert not (tmp_path / "run").exists()


def test_another_number_than_torchrun_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="leave --processes 3 out"), together(3):
        pass


def test_who_does_not_find_the_others_says_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    which = {"RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0"}
    count = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in (where | which | count).items():
        monkeypatch.setenv(name, value)

    def launch(fabric: Fabric) -> None:
        raise RuntimeError("timed out")

    monkeypatch.setattr(Fabric, "launch", launch)
    with (
        pytest.raises(ProcessLost, match=r"process 1 of 2 .* at 10\.0\.0\.1:29500"),
        together(None),
    ):
        pass


def test_one_process_computes_as_ever(npz: Path) -> None:
    with together(None):
        assert (processes.count(), processes.rank(), processes.leads()) == (1, 0, True)
        assert processes.any_of(True)
        assert not processes.any_of(False)
