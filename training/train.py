"""A run from its configuration to its last checkpoint.

``train`` starts one, ``resume`` goes on with one; both end in ``_go``, which takes the stages one
after the other through the loop of ``trainer.fit`` and writes what each tick brings.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from training import data, processes
from training.checkpoint import State, checkpoints, load_checkpoint, save_checkpoint
from training.config import RunConfig, ScheduleConfig, load_config
from training.data.augment import Augmentation
from training.data.batches import Batches
from training.data.dataset import Dataset
from training.data.progress import progress_bars
from training.ema import EMA
from training.errors import CheckpointError, ConfigError, Diverged
from training.grid import save_png, sheet, triples
from training.launch import fabric as launched
from training.layers import to_uint8
from training.precision import flushed_denormals, resolve
from training.recipe import SURVEYED, Recipe
from training.recipes import SYSTEMS
from training.report import write_report
from training.run import Run, describe, shape_of
from training.trainer import Tick, build_optimizer, fit

GRID_IMAGES, GRID_COLUMNS = 80, 8
GRID_PAIRS, PAIR_COLUMNS = 27, 9  # of pairs: the source, what is made of it, the truth; thrice
GRID_BATCH = 16  # drawn, or looked at, at once: large pictures must fit beside the training
RECALIBRATION_BATCHES = 40


class Watcher(Protocol):
    """Somebody who wants to see how a run goes."""

    def begin(self, stage: int, images: int, total: int) -> None:
        """A stage of ``total`` images starts, or goes on from ``images``."""

    def tick(self, tick: Tick, images_per_s: float) -> None:
        """Another tick."""


def train(config: RunConfig, path: Path, watcher: Watcher, stop: Callable[[], bool]) -> bool:
    """Start a run in a new folder; True when it went to its end.

    Of several processes each computes its share, and the first alone writes.

    Raises:
        RunExists, DataError, ConfigError, Diverged, ProcessLost.
    """
    _refuse_uneven(config.schedule)
    torch.manual_seed(config.schedule.seed)
    images = load_data(config)
    recipes = stages(config, images)
    absolute = {  # resumed from any folder
        "source": data.absolute(config.data.source),
        "pairing": data.absolute_pairing(config.data.pairing),
    }
    config = config.model_copy(update={"data": config.data.model_copy(update=absolute)})
    run = Run.create(path) if processes.leads() else Run(path)
    if processes.leads():
        run.write_dataset(images)
        run.write_config(config)
    return _go(run, config, images, recipes, watcher, stop)


def resume(path: Path, watcher: Watcher, stop: Callable[[], bool]) -> bool:
    """Go on with a run from its newest checkpoint; True when it went to its end.

    Raises:
        CheckpointError: not a run, or its data has changed.
        DataError: its data is gone.
        Diverged: a loss is not finite.
        ProcessLost: another process of the run has ended.
    """
    run = Run.open(path)
    config = load_config(run.config_path)
    _refuse_uneven(config.schedule)
    torch.manual_seed(config.schedule.seed)
    images = load_data(config)
    recorded = run.dataset()["fingerprint"]
    if images.fingerprint != recorded:
        raise CheckpointError(
            f"{config.data.source} is not the data that {path} learnt from: its fingerprint is "
            f"{images.fingerprint[:12]}, not {recorded[:12]}; put the images back, or train anew"
        )
    return _go(run, config, images, stages(config, images), watcher, stop)


def _refuse_uneven(schedule: ScheduleConfig) -> None:
    """Raise ConfigError unless each process gets as many rows of a batch."""
    rows, count = schedule.batch // schedule.accumulate, processes.count()
    if rows % count:
        raise ConfigError(
            f"{rows} images at a time (schedule.batch divided by schedule.accumulate) are not "
            f"{count} equal shares: choose schedule.batch or the number of processes to fit"
        )


def load_data(config: RunConfig) -> Dataset:
    """The images of a configuration."""
    with progress_bars() as progress:
        return data.load(
            config.data.source,
            size=config.data.size,
            channels=config.data.channels,
            pairing=config.data.pairing,
            progress=progress,
        )


def stages(config: RunConfig, images: Dataset) -> Iterator[Recipe]:
    """The stages of a run.

    The first is built at once: what does not fit the data shows before anything is written.

    Raises:
        ConfigError: the recipe does not fit the data.
    """
    recipes = SYSTEMS[config.recipe.system].stages(config.recipe, shape_of(describe(images)))
    return itertools.chain([next(recipes)], recipes)


@flushed_denormals()
def _go(
    run: Run,
    config: RunConfig,
    images: Dataset,
    recipes: Iterator[Recipe],
    watcher: Watcher,
    stop: Callable[[], bool],
) -> bool:
    """Take the stages through the loop, each from its newest checkpoint; True at the end."""
    first = next(recipes)
    config, fabric = _settle(run, config, first, images)
    schedule = config.schedule
    augmentation = Augmentation(config.data.jitter, config.data.flip)
    batches = Batches(images, schedule.batch, schedule.seed, fabric.device, augmentation)

    def anybody() -> bool:
        return processes.any_of(stop())

    if processes.leads():
        run.diverged_path.unlink(missing_ok=True)
    try:
        for index, recipe in enumerate(itertools.chain([first], recipes)):
            state = begin(recipe, schedule.ema_kimg, index, fabric.device)
            found = checkpoints(run.checkpoints, index)
            if found:
                load_checkpoint(found[-1], state)
            if state.images < schedule.images:
                if processes.leads():
                    run.rewind(index, state.images)
                    watcher.begin(index, state.images, schedule.images)
                _stage(run, config, state, batches, fabric, watcher, anybody)
            if state.images < schedule.images:
                return False
    except Diverged as error:
        kept = checkpoints(run.checkpoints)
        told = f"{kept[-1]} is from before" if kept else "there is no checkpoint from before"
        if processes.leads():
            run.diverged_path.write_text(f"{error}\n")
        raise Diverged(f"{error}; {told}") from error
    finally:  # also of a run that diverged: there its curves are worth most
        if processes.leads():
            write_report(run)
    return True


def _settle(
    run: Run, config: RunConfig, recipe: Recipe, images: Dataset
) -> tuple[RunConfig, Fabric]:
    """Resolve device and precision once, and write the precision down."""
    schedule = config.schedule
    device = launched().device
    rows = schedule.batch // schedule.accumulate // processes.count()
    trial = Batches(images, rows, schedule.seed, device)
    recipe.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = resolve(schedule.precision, recipe, trial)
    if processes.any_of(precision == "float32"):
        precision = "float32"
    config = config.model_copy(
        update={"schedule": schedule.model_copy(update={"precision": precision})}
    )
    if processes.leads():
        run.write_config(config)
    return config, launched(precision)


def begin(recipe: Recipe, ema_kimg: float, stage: int, device: torch.device) -> State:
    """A stage before its first step: optimisers built, the average equal to the generator."""
    recipe.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe.train()
    optimizers = {p.name: build_optimizer(p.optimizer, p.learns) for p in recipe.phases()}
    return State(recipe, EMA(recipe.generator, ema_kimg * 1000), optimizers, stage=stage)


def _stage(
    run: Run,
    config: RunConfig,
    state: State,
    batches: Batches,
    fabric: Fabric,
    watcher: Watcher,
    stop: Callable[[], bool],
) -> None:
    """One stage of the loop: what is written at ticks, and a checkpoint however it ends."""
    schedule = config.schedule
    kept = before = state.images
    then = time.perf_counter()
    for tick in fit(state, batches, schedule, fabric, stop):
        if not processes.leads():
            continue
        seconds, images = time.perf_counter() - then, tick.images - before
        _record(run, state.stage, tick, images, seconds)
        watcher.tick(tick, images / seconds)
        if kept + schedule.checkpoint_kimg * 1000 <= tick.images < schedule.images:
            _keep(run, state, batches, schedule.seed)
            kept = tick.images
        before, then = tick.images, time.perf_counter()  # what was written is not training
    if processes.leads():
        _keep(run, state, batches, schedule.seed)


def _record(run: Run, stage: int, tick: Tick, images: int, seconds: float) -> None:
    """Add a line to stats.jsonl: ``images`` were trained on in the last ``seconds``."""
    speed = {"seconds": round(seconds, 3), "images_per_s": round(images / seconds, 1)}
    row = {"stage": stage, **asdict(tick), **speed}
    with run.stats_path.open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def _keep(run: Run, state: State, batches: Batches, seed: int) -> None:
    """A sample grid from the same inputs every time, and a checkpoint."""
    pictures = sample_grid(state, batches, seed)
    survey(state.recipe, batches)
    path = run.samples / f"{state.stage:02d}-{state.images:010d}.png"
    columns = GRID_COLUMNS if batches.data.sources is None else PAIR_COLUMNS
    save_png(sheet(pictures, columns), path)
    save_checkpoint(state, run.checkpoints)


@torch.no_grad()
def survey(recipe: Recipe, batches: Batches) -> None:
    """Show a recipe a sample of its data, with the weights that are about to be kept."""
    places = batches.drawn(SURVEYED)
    recipe.eval()
    recipe.survey(batches.of(places[k : k + GRID_BATCH]) for k in range(0, SURVEYED, GRID_BATCH))
    recipe.train()


@torch.no_grad()
def sample_grid(state: State, batches: Batches, seed: int) -> NDArray[np.uint8]:
    """Pictures of the averaged generator, whose batch-norm statistics are estimated first.

    Returns:
        uint8 [N, H, W, C], in order of the classes; of pairs, the source before each of them and
        the truth after it.
    """
    devices = [batches.device] if batches.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        recipe = state.recipe
        state.ema.recalibrate(recipe.inputs(batches.batch(k)) for k in range(RECALIBRATION_BATCHES))
        shown = batches.fixed(GRID_IMAGES if batches.data.sources is None else GRID_PAIRS)
        parts = zip(*(torch.split(part, GRID_BATCH) for part in recipe.inputs(shown)), strict=True)
        made = torch.cat([to_uint8(state.ema.module(*part)) for part in parts]).cpu().numpy()
        if shown.source is None:
            return made
        source, truth = (to_uint8(part).cpu().numpy() for part in (shown.source, shown.x))
        return triples(source, made, truth)
