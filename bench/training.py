"""How fast does it train? Images per second of a DCGAN, beside the loop of most tutorials.

The same networks three times: in the plain loop, and in the trainer of ``ganymede train`` (ticks
and moving average included, checkpoints not) in float32 and in the precision that it chooses here.
The contenders take turns within each round, so that what else the machine does hits all of them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from lightning_fabric import Fabric
from rich.table import Table

from bench.command import BenchError, console, run
from bench.plain_loop import plain_loop
from bench.progress import shown
from bench.result import Result
from training.config import RunConfig, load_preset
from training.data.batches import Batches, to_batch
from training.data.dataset import Dataset
from training.data.progress import Progress
from training.precision import FABRIC_NAMES, Resolved, resolve
from training.recipe import Recipe
from training.recipes import SYSTEMS
from training.run import describe, shape_of
from training.train import begin, load_data
from training.trainer import fit

TARGET = 1.5  # times the plain loop, on a processor that computes in bfloat16
PLAIN = "plain loop, float32"


@dataclass
class Contender:
    """Something that trains; ``advance`` trains on the images of one round."""

    name: str
    advance: Callable[[], None]
    flush_denormal: bool
    seconds: list[float] = field(default_factory=list)

    def round_s(self) -> float:
        """The time of one round, in seconds."""
        torch.set_flush_denormal(self.flush_denormal)
        started = time.perf_counter()
        self.advance()
        return time.perf_counter() - started


def trainer(
    recipe: Recipe, config: RunConfig, data: Dataset, precision: Resolved
) -> Callable[[], None]:
    """The loop of ``ganymede train``; a round is a tick."""
    schedule = config.schedule
    fabric = Fabric(accelerator="cpu", devices=1, precision=FABRIC_NAMES[precision])
    state = begin(recipe, schedule.ema_kimg, 0, fabric.device)
    batches = Batches(data, schedule.batch, schedule.seed, fabric.device)
    ticks = fit(state, batches, schedule, fabric)

    def advance() -> None:
        next(ticks)

    return advance


def tutorial(
    recipe: Recipe, config: RunConfig, data: Dataset, iterations: int
) -> Callable[[], None]:
    """The plain loop; a round is as many iterations."""
    networks, settings = cast(Any, recipe), cast(Any, config.recipe)
    steps = plain_loop(
        networks.generator,
        networks.discriminator,
        to_batch(np.array(data.images), None, torch.device("cpu")).x.contiguous(),
        config.schedule.batch,
        settings.latent,
        settings.g_optimizer,
        settings.d_optimizer,
    )

    def advance() -> None:
        for _ in range(iterations):
            next(steps)

    return advance


def contenders(config: RunConfig, data: Dataset, iterations: int) -> list[Contender]:
    """The plain loop, and the trainer in float32 and in the precision that it chooses."""

    def fresh() -> Recipe:
        torch.manual_seed(config.schedule.seed)
        system = SYSTEMS[config.recipe.system]
        return next(iter(system.stages(config.recipe, shape_of(describe(data)))))

    trial = Batches(data, config.schedule.batch, config.schedule.seed)
    chosen = resolve("auto", fresh(), trial)
    found = [Contender(PLAIN, tutorial(fresh(), config, data, iterations), False)]
    for precision in dict.fromkeys(("float32", chosen)):
        advance = trainer(fresh(), config, data, precision)
        found.append(Contender(f"trainer, {precision}", advance, True))
    return found


def race(contestants: Sequence[Contender], rounds: int, progress: Progress) -> None:
    """Time every contender in every round, after one round that is not counted."""
    total = (rounds + 1) * len(contestants)
    for turn in range(total):
        lap, index = divmod(turn, len(contestants))
        seconds = contestants[index].round_s()
        if lap:
            contestants[index].seconds.append(seconds)
        progress("rounds", turn + 1, total)


def figures(contestants: Sequence[Contender], images: int) -> list[dict[str, Any]]:
    """Speeds and, round by round, how many times that of the plain loop; medians."""
    plain = contestants[0].seconds
    return [
        {
            "contender": one.name,
            "images_per_s": images / statistics.median(one.seconds),
            "slowest": images / max(one.seconds),
            "fastest": images / min(one.seconds),
            "times_plain": statistics.median(
                base / own for base, own in zip(plain, one.seconds, strict=False)
            ),
            "rounds": len(one.seconds),
        }
        for one in contestants
        if one.seconds
    ]


def table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """The figures, one contender a row."""
    drawn = Table(title=title, title_justify="left")
    drawn.add_column("contender")
    for name in ("images/s", "slowest", "fastest", "times plain", "rounds"):
        drawn.add_column(name, justify="right")
    for row in rows:
        speeds = (f"{row[key]:,.0f}" for key in ("images_per_s", "slowest", "fastest"))
        drawn.add_row(row["contender"], *speeds, f"{row['times_plain']:.2f}", str(row["rounds"]))
    return drawn


def main(
    preset: Annotated[str, typer.Option(help="Of a dcgan.")] = "dcgan-fashion-fast",
    base_channels: Annotated[int, typer.Option(min=1, help="Of both networks.")] = 64,
    iterations: Annotated[int, typer.Option(min=1, help="In a round.")] = 30,
    rounds: Annotated[int, typer.Option(min=1, help="The median counts.")] = 7,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Race the trainer against the plain loop."""
    config = configure(preset, base_channels, iterations, rounds)
    images = iterations * config.schedule.batch
    result = Result("training", config=config.model_dump(mode="json"), **_processor())
    contestants: list[Contender] = []
    try:
        with shown() as progress:
            contestants += contenders(config, load_data(config), iterations)
            race(contestants, rounds, progress)
        result.update(complete=True)
    except KeyboardInterrupt:
        print("interrupted: what follows was measured before", file=sys.stderr)
    rows = figures(contestants, images) if contestants else []
    reached = bool(rows) and result.facts["complete"] and rows[-1]["times_plain"] >= TARGET
    result.update(figures=rows, target=TARGET, passed=reached)
    result.write(json)
    title = f"{preset}, {base_channels} base channels, batch {config.schedule.batch}"
    output = console()
    output.print(table(title, rows))
    output.print(f"target: {TARGET} times the plain loop: {'pass' if reached else 'MISSED'}")
    if not reached:
        raise typer.Exit(1)


def configure(
    preset: str, base_channels: int, iterations: int, rounds: int, batch: int | None = None
) -> RunConfig:
    """The preset, wider, long enough for all rounds, with a tick for each.

    Raises:
        BenchError: it is not a DCGAN that the plain loop can train.
    """
    changes = [f"recipe.base_channels={base_channels}", f"recipe.d_base_channels={base_channels}"]
    changes += [] if batch is None else [f"schedule.batch={batch}"]
    config = load_preset(preset, changes)
    settings = cast(Any, config.recipe)
    if settings.system != "dcgan" or settings.objective != "nonsaturating" or settings.r1:
        raise BenchError(f"{preset} is not a dcgan with the plain loss: try dcgan-fashion-fast")
    kimg = iterations * config.schedule.batch / 1000
    schedule = config.schedule.model_copy(
        update={"kimg": (rounds + 2) * kimg, "tick_kimg": kimg, "precision": "auto"}
    )
    return config.model_copy(update={"schedule": schedule})


def _processor() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    }


if __name__ == "__main__":
    run(main)
