"""How long a run will take: steps, stages and parameters are counted, time is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.tiny import tiny_config, tiny_recipe
from training import estimate as module
from training.errors import ConfigError
from training.estimate import estimate
from training.recipe import Recipe, Shape
from training.recipes import SYSTEMS, System, gan


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes a second."""
    seconds = iter(range(1000))

    class Clock:
        perf_counter = staticmethod(lambda: float(next(seconds)))

    monkeypatch.setattr(module, "time", Clock)


@pytest.mark.usefixtures("clock")
def test_estimate_is_steps_times_a_step(npz: Path) -> None:
    found = estimate(tiny_config(npz, kimg=0.1))
    assert found.steps == 13  # of 8 images: 104 at least 100
    assert found.step_s == 1
    assert found.total_s == 13
    assert (found.stages, found.precision) == (1, "float32")
    assert found.parameters == sum(p.numel() for p in tiny_recipe("gan").parameters())


@pytest.mark.usefixtures("clock")
def test_estimate_adds_the_stages(npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(config: gan.GANConfig, image: Shape) -> Iterator[Recipe]:
        yield from gan.stages(config, image)
        yield from gan.stages(config, image)

    monkeypatch.setitem(SYSTEMS, "gan", System(twice))
    found = estimate(tiny_config(npz))
    assert (found.stages, found.steps, found.total_s) == (2, 16, 32)


def test_estimate_measures_real_time_and_every_system(npz: Path) -> None:
    for system in SYSTEMS:
        assert 0 < estimate(tiny_config(npz, system)).total_s < 600


def test_estimate_of_what_cannot_be_trained_is_refused(npz: Path) -> None:
    config = tiny_config(npz, "dcgan")
    data = config.data.model_copy(update={"size": 30})
    with pytest.raises(ConfigError, match="choose a near size"):
        estimate(config.model_copy(update={"data": data}))


def test_estimate_writes_nothing(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    estimate(tiny_config(npz))
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == 1
