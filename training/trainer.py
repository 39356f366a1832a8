"""The training loop: one, for every system. It never asks which system it trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from lightning_fabric import Fabric
from torch import nn

from training import processes
from training.checkpoint import State
from training.config import ScheduleConfig
from training.data.batches import Source, split
from training.errors import Diverged
from training.log import Log
from training.recipe import Adam, Phase, Sgd


@dataclass
class Tick:
    """What happened since the tick before; every value is a mean or the latest one."""

    images: int
    terms: dict[str, float] = field(default_factory=dict)
    signals: dict[str, float] = field(default_factory=dict)
    grad_norm: dict[str, float] = field(default_factory=dict)
    rate: dict[str, float] = field(default_factory=dict)


def build_optimizer(settings: Adam | Sgd, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser that a phase asks for as data."""
    parameters = network.parameters()
    match settings:
        case Adam():
            betas = (settings.beta1, settings.beta2)
            return torch.optim.Adam(parameters, settings.lr, betas, fused=True)
        case Sgd():
            return torch.optim.SGD(parameters, settings.lr, settings.momentum)


def fit(
    state: State,
    batches: Source,
    schedule: ScheduleConfig,
    fabric: Fabric,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Tick]:
    """Train a stage to its end, or until ``stop``, yielding at each tick and at the end.

    Between two ticks nothing waits for the device. A stop between two ticks yields nothing: the
    tick goes on after the resume.

    Raises:
        Diverged: something is not finite; names it.
    """
    tick_images = max(schedule.batch, round(schedule.tick_kimg * 1000))
    while state.images < schedule.images and not stop():
        iterate(state, batches, schedule, fabric)
        state.images += schedule.batch
        state.ema.update(state.recipe.generator, schedule.batch, state.images)
        if state.images // tick_images > (state.images - schedule.batch) // tick_images:
            tick = measure(state, batches)
            state.log.clear()
            yield tick
    if state.log.counts:
        tick = measure(state, batches)  # also before a stop: a diverged state is not to be kept
        if state.images >= schedule.images:
            state.log.clear()
            yield tick


def iterate(state: State, batches: Source, schedule: ScheduleConfig, fabric: Fabric) -> None:
    """Every phase once, in order. A joined one waits with its last step for the next phase's."""
    waiting: list[torch.optim.Optimizer] = []
    for phase in state.recipe.phases():
        for _ in range(phase.repeats - 1):
            step(phase, state, batches, schedule, fabric, state.log)
        differentiate(phase, state, batches, schedule, fabric, state.log)
        waiting.append(state.optimizers[phase.name])
        if not phase.joined:
            for optimizer in waiting:
                optimizer.step()
            waiting.clear()
    for optimizer in waiting:
        optimizer.step()


def step(
    phase: Phase,
    state: State,
    batches: Source,
    schedule: ScheduleConfig,
    fabric: Fabric,
    log: Log,
) -> None:
    """One optimiser step of one phase, on a fresh batch."""
    differentiate(phase, state, batches, schedule, fabric, log)
    state.optimizers[phase.name].step()


def differentiate(
    phase: Phase,
    state: State,
    batches: Source,
    schedule: ScheduleConfig,
    fabric: Fabric,
    log: Log,
) -> None:
    """The gradient of one phase's loss, on a fresh batch; nothing moves yet."""
    state.recipe.requires_grad_(False)
    phase.learns.requires_grad_(True)
    optimizer = state.optimizers[phase.name]
    rate = phase.optimizer.rate(state.images / schedule.images)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    for part in split(batches.batch(state.batches), schedule.accumulate):
        with fabric.autocast(), processes.share(part) as own:
            terms = phase.loss(own, state.images)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        fabric.backward(total / schedule.accumulate)
        log.add(phase.name, terms)
    processes.average(p.grad for p in phase.learns.parameters() if p.grad is not None)
    state.batches += 1
    log.rate[phase.name] = rate


def measure(state: State, batches: Source) -> Tick:
    """What happened since the last tick.

    Raises:
        Diverged: a loss, a gradient or a signal is not finite.
    """
    processes.average([*state.log.sums.values(), *state.log.lost.values()])
    tick = Tick(state.images, state.log.means(), rate=dict(state.log.rate))
    refuse_divergence({name: tick.terms[name] for name in state.log.suspects()}, state.images)
    for phase in state.recipe.phases():
        norms = [p.grad.norm() for p in phase.learns.parameters() if p.grad is not None]
        tick.grad_norm[phase.name] = float(torch.stack(norms).norm()) if norms else 0.0
    refuse_divergence({f"{k}/gradient norm": v for k, v in tick.grad_norm.items()}, state.images)
    tick.signals = watch(state, batches)
    refuse_divergence(tick.signals, state.images)
    return tick


def refuse_divergence(values: dict[str, float], images: int) -> None:
    """Raise Diverged, with the name, if one of the values is not finite."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise Diverged(
                f"{name} became {value} before {images} images: try a lower learning rate, or "
                "float32 (--set schedule.precision=float32)"
            )


@torch.no_grad()
def watch(state: State, batches: Source) -> dict[str, float]:
    """The recipe's signals, without a trace on the training: eval mode, random state kept."""
    devices = [batches.device] if batches.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        state.recipe.eval()
        signals = state.recipe.signals(batches.batch(state.batches))
        state.recipe.train()
    return {name: float(value) for name, value in signals.items()}
