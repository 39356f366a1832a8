"""Which arithmetic is faster here: measured once at the start of a run, then written down."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator
from typing import Literal

import torch

from training.config import Precision
from training.data.batches import Source
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

    Flushing is the thread's, and off by default: it is turned off at the end.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def resolve(precision: Precision, recipe: Recipe, batches: Source) -> Resolved:
    """``auto`` becomes bfloat16 where an iteration takes clearly less time with it."""
    if precision != "auto":
        return precision
    seconds = time_iterations(recipe, batches)
    return "bfloat16" if seconds["bfloat16"] * WORTH < seconds["float32"] else "float32"


def time_iterations(recipe: Recipe, batches: Source, runs: int = 5) -> dict[str, float]:
    """Seconds of one iteration, forward and backward of every phase, in each precision.

    The precisions take turns, and the least of ``runs`` after a warm-up counts: what else the
    machine does is not held against one of them. It runs on a copy and puts the random state
    back: the training does not notice.
    """
    trial = copy.deepcopy(recipe)
    devices = [batches.device] if batches.device.type == "cuda" else []
    seconds: dict[str, list[float]] = {choice: [] for choice in FABRIC_NAMES}
    with torch.random.fork_rng(devices):
        for _ in range(1 + runs):
            for choice in FABRIC_NAMES:
                seconds[choice].append(_iterate(trial, batches, choice))
    return {choice: min(measured[1:]) for choice, measured in seconds.items()}


def _iterate(recipe: Recipe, batches: Source, precision: str) -> float:
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
