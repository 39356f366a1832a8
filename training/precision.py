"""Which arithmetic is faster here: measured once at the start of a run, then written down."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator
from typing import Literal

import torch

from training.config import Precision
from training.data.batches import Batches
from training.recipe import Recipe

Resolved = Literal["float32", "bfloat16"]
FABRIC_NAMES: dict[str, Literal["32-true", "bf16-mixed"]] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
}
WORTH = 1.1  # bfloat16 must be this much faster to be taken


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Tiny numbers count as zero meanwhile: a saturated discriminator's are 5 to 50 times slower.

    The state is the thread's, so it is put back for whoever comes after.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def resolve(precision: Precision, recipe: Recipe, batches: Batches) -> Resolved:
    """``auto`` becomes bfloat16 where an iteration takes clearly less time with it."""
    if precision != "auto":
        return precision
    seconds = {choice: time_iteration(recipe, batches, choice) for choice in FABRIC_NAMES}
    return "bfloat16" if seconds["bfloat16"] * WORTH < seconds["float32"] else "float32"


def time_iteration(recipe: Recipe, batches: Batches, precision: str, runs: int = 5) -> float:
    """Seconds of one iteration, forward and backward of every phase: the median of ``runs``.

    It runs on a copy and puts the random state back: the training does not notice.
    """
    trial = copy.deepcopy(recipe)
    devices = [batches.device] if batches.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        seconds = sorted(_iterate(trial, batches, precision) for _ in range(runs + 1))
    return seconds[runs // 2]


def _iterate(recipe: Recipe, batches: Batches, precision: str) -> float:
    device = batches.device
    autocast: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if precision == "bfloat16":
        autocast = torch.autocast(device.type, torch.bfloat16)
    _wait(device)
    start = time.perf_counter()
    for phase in recipe.phases():
        recipe.requires_grad_(False)
        phase.learns.requires_grad_(True)
        for _ in range(phase.repeats):
            with autocast:
                terms = phase.loss(batches.batch(0), 0)
            torch.autograd.backward(torch.stack([term.float() for term in terms.values()]).sum())
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
