"""How long a run will take, before it starts."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric

from training.config import RunConfig
from training.data.batches import Batches
from training.log import Log
from training.precision import FABRIC_NAMES, Resolved, flushed_denormals, resolve
from training.recipes import SYSTEMS
from training.run import describe, shape_of
from training.train import begin, load_data
from training.trainer import step

WARM_UP_STEPS, TIMED_STEPS = 2, 8


@dataclass(frozen=True)
class Estimate:
    """What a few steps say of a whole run; ``step_s`` is the mean over the stages."""

    stages: int
    steps: int
    step_s: float
    total_s: float
    precision: Resolved
    parameters: int


@flushed_denormals()
def estimate(config: RunConfig) -> Estimate:
    """Time a few real steps of every stage, optimisers and averaging included."""
    torch.manual_seed(config.schedule.seed)
    images, schedule = load_data(config), config.schedule
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batches = Batches(images, schedule.batch, schedule.seed, device)
    precision: Resolved | None = None
    seconds, parameters = [], 0
    shape = shape_of(describe(images))
    for recipe in SYSTEMS[config.recipe.system].stages(config.recipe, shape):
        state = begin(recipe, schedule.ema_kimg, 0, device)
        precision = precision or resolve(schedule.precision, recipe, batches)
        fabric = Fabric(accelerator=device.type, devices=1, precision=FABRIC_NAMES[precision])
        timed = []
        for _ in range(WARM_UP_STEPS + TIMED_STEPS):
            start = time.perf_counter()
            for phase in recipe.phases():
                for _ in range(phase.repeats):
                    step(phase, state, batches, schedule, fabric, Log())
            state.ema.update(recipe.generator, schedule.batch, schedule.images)
            timed.append(time.perf_counter() - start)
        seconds.append(statistics.median(timed[WARM_UP_STEPS:]))
        parameters += sum(p.numel() for p in recipe.parameters())
    assert precision is not None  # a system has at least one stage
    steps = -(-schedule.images // schedule.batch)
    step_s = statistics.mean(seconds)
    return Estimate(len(seconds), steps, step_s, steps * sum(seconds), precision, parameters)
