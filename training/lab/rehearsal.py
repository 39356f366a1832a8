"""The training loop, as it is, on what is no data set of pictures."""

from __future__ import annotations

from lightning_fabric import Fabric

from training.checkpoint import State
from training.config import ScheduleConfig
from training.data.batches import Source
from training.precision import FABRIC_NAMES, flushed_denormals, resolve
from training.recipe import Recipe
from training.train import begin
from training.trainer import fit


def rehearse(recipe: Recipe, source: Source, schedule: ScheduleConfig) -> State:
    """Train a recipe on the CPU and return where it ended.

    Raises:
        Diverged: something is not finite.
    """
    precision = FABRIC_NAMES[resolve(schedule.precision, recipe, source)]
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    state = begin(recipe, schedule.ema_kimg, 0, fabric.device)
    with flushed_denormals():
        for _ in fit(state, source, schedule, fabric):
            pass
    return state
