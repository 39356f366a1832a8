"""Does it work on this GPU, and how fast? One command, no download, less than eight minutes.

Every part is told on its own: what it found, whether that is what was promised, or why it was left
out (no ONNX Runtime for GPUs, no TensorRT, no torch for CUDA, no time). Where there is no GPU it
says so, and that is no failure.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime as ort
import typer
from PIL import Image
from rich.table import Table

from bench import closed_loop, cuda_sessions, wrk
from bench.command import BenchError, console, run
from bench.cuda_sessions import Row
from bench.loads import LARGE, MANY, ONE, WARM_S, Closed, Served
from bench.processes import post
from bench.result import Result
from bench.servers import serving
from export.bundle import load_bundle
from export.manifest import FixedSize
from service.config import RuntimeUnusable, starter_folder
from service.onnx_runtime.probing import choose_provider, visible_gpus
from service.onnx_runtime.providers import Provider

LOADS = (ONE, LARGE, MANY)
RELOADS = 50
LATEST_S = 420.0  # after which no further part is begun
BASE_CHANNELS = 64  # of both networks that are trained
TRAINING_BATCH, TRAINING_ROUNDS, TRAINING_ITERATIONS = 512, 3, 40

Status = Literal["passed", "measured", "MISSED", "skipped", "failed"]


class Skipped(Exception):
    """A part that cannot be measured here; the message says why."""


@dataclass
class Part:
    """What one measurement came to."""

    name: str
    status: Status = "measured"
    reason: str = ""
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)


def measure(name: str, work: Callable[[], list[Row]], begun: float) -> Part:
    """Do one part; whatever goes wrong is its result, and the next part is done all the same."""
    part, started = Part(name), time.monotonic()
    try:
        if started - begun > LATEST_S:
            raise Skipped("no time is left")
        part.rows = work()
        verdicts = [row["passed"] for row in part.rows if "passed" in row]
        if verdicts:
            part.status = "passed" if all(verdicts) else "MISSED"
    except (Skipped, ImportError) as reason:
        part.status, part.reason = "skipped", str(reason)
    except Exception as error:
        part.status, part.reason = "failed", f"{type(error).__name__}: {error}"
    part.seconds = time.monotonic() - started
    said = f"{name}: {part.status} {part.reason} ({part.seconds:.0f} s)"
    print(said, file=sys.stderr, flush=True)
    return part


# --- What is measured. ---


def subjects(scratch: Path) -> Iterator[Served]:
    """The starter, and two DCGANs with random weights, where torch can make them."""
    place = starter_folder() / "fashion" / "1"
    manifest = load_bundle(place).manifest
    graph = manifest.graph("generate")
    assert isinstance(manifest.size, FixedSize)
    yield Served("fashion", starter_folder(), place / graph.onnx, graph, manifest.size)
    try:
        from bench.random_models import RANDOM, serve_model
    except ImportError as error:
        print(f"only the starter is measured: {error}", file=sys.stderr)
        return
    for name in RANDOM:
        yield serve_model(name, scratch)


def versions() -> list[Row]:
    """What there is: the GPUs, their driver, and what would use them."""
    facts: Row = {
        "gpus": cuda_sessions.nvidia_smi("name,driver_version,memory.total,compute_cap"),
        "visible": visible_gpus(),
        "onnxruntime": ort.__version__,
        "providers": ort.get_available_providers(),
        "cuda_of_onnxruntime": getattr(ort, "cuda_version", None) or None,
        "numpy": np.__version__,
    }
    try:
        import torch

        facts |= {"torch": torch.__version__, "cuda_of_torch": torch.version.cuda}
    except ImportError:
        facts["torch"] = None
    return [facts]


def over_http(model: Served, provider: Provider, seconds: int) -> list[Row]:
    """The real service under a closed loop: wrk where it is installed, else asyncio."""
    client = wrk.attack if shutil.which("wrk") else closed_loop.attack
    rows = []
    with serving(model, {"GANYMEDE_PROVIDER": provider}) as (url, _):
        for load in LOADS:
            check(post(url, load.images), load, model)
            client(url, load, WARM_S)
            outcome = client(url, load, seconds)
            facts = {"model": model.name, "load": load.name, "client": client.__module__}
            passed = not (outcome.refused_per_s or outcome.failed)
            rows.append({**facts, **asdict(outcome), "passed": passed})
    return rows


def check(body: bytes, load: Closed, model: Served) -> None:
    """As many pictures came as were asked for, of the right size; "deviation" has their pixels.

    Raises:
        BenchError: they are not.
    """
    files = [base64.b64decode(image["data"]) for image in json.loads(body)["images"]]
    sizes = [Image.open(io.BytesIO(file)).size for file in files]
    if sizes != [(model.size.width, model.size.height)] * load.images:
        raise BenchError(f"{model.name} answered with pictures of {sizes} to {load.name}")


def training(device: str, batch: int, rounds: int, iterations: int) -> list[Row]:
    """Images per second of the dcgan recipe in the trainer's own loop, in both precisions."""
    import torch
    from lightning_fabric import Fabric

    from bench.training import configure
    from training.data.batches import Batches
    from training.precision import FABRIC_NAMES
    from training.recipes import SYSTEMS
    from training.run import describe, shape_of
    from training.train import begin, load_data
    from training.trainer import fit

    if device == "cuda" and not torch.cuda.is_available():
        raise Skipped(f"torch {torch.__version__} sees no GPU: it is not built for CUDA, or no "
                      "longer for this GPU")  # fmt: skip
    config = configure("dcgan-fashion-fast", BASE_CHANNELS, iterations, rounds, batch)
    data, rows = load_data(config), []
    for precision, name in FABRIC_NAMES.items():
        torch.manual_seed(0)
        recipe = next(iter(SYSTEMS["dcgan"].stages(config.recipe, shape_of(describe(data)))))
        fabric = Fabric(accelerator=device, devices=1, precision=name)
        state = begin(recipe, config.schedule.ema_kimg, 0, fabric.device)
        batches = Batches(data, batch, 0, fabric.device)
        ticks, spent = fit(state, batches, config.schedule, fabric), []
        for _ in range(rounds + 1):  # a tick waits for the device
            started = time.perf_counter()
            next(ticks)
            spent.append(time.perf_counter() - started)
        images_per_s = iterations * batch / float(np.median(spent[1:]))
        rows.append({"precision": precision, "batch": batch, "images_per_s": images_per_s})
    return rows


# --- How it is told. ---


def table(part: Part) -> Table:
    """The rows of a part; a column for whatever any of them tells."""
    verdict = f"{part.status}{': ' if part.reason else ''}{part.reason}"
    drawn = Table(title=f"{part.name}: {verdict}", title_justify="left")
    names = list(dict.fromkeys(name for row in part.rows for name in row))
    for name in names:
        drawn.add_column(name, overflow="fold")
    for row in part.rows:
        drawn.add_row(*(_cell(row.get(name, "")) for name in names))
    return drawn


def _cell(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)


def plan(
    provider: Provider, seconds: int, models: Sequence[Served]
) -> list[tuple[str, Provider | None, Callable[[], list[Row]]]]:
    """The name of each part, what it needs, and how it is measured; the most telling first."""

    def each(ask: Callable[[Served], list[Row]]) -> Callable[[], list[Row]]:
        return lambda: [row for model in models for row in ask(model)]

    def reloads() -> list[Row]:
        memory = cuda_sessions.gpu_memory_mib
        return cuda_sessions.reloads(models[-1], provider, RELOADS, memory)

    def train() -> list[Row]:
        return training("cuda", TRAINING_BATCH, TRAINING_ROUNDS, TRAINING_ITERATIONS)

    return [
        ("binding", provider, each(lambda model: cuda_sessions.binding(model, provider))),
        ("buckets", provider, each(lambda model: cuda_sessions.buckets(model, provider))),
        ("deviation", provider, each(lambda model: cuda_sessions.deviation(model, provider))),
        ("ways to run", provider, each(lambda model: cuda_sessions.ways(model, provider))),
        ("service", provider, each(lambda model: over_http(model, provider, seconds))),
        ("memory over reloads", provider, reloads),
        ("training", None, train),
        # Last: looking for it turns TensorFloat-32 off for the whole process.
        ("TensorRT", "tensorrt", lambda: cuda_sessions.tensorrt(models[-1], "tensorrt")),
    ]


def measured(provider: Provider, seconds: int, scratch: Path) -> Iterator[Part]:
    """Every part, one after the other."""
    begun = time.monotonic()
    models: list[Served] = []
    yield measure("versions", versions, begun)
    yield measure("models", partial(_keep, models, scratch), begun)
    for name, needed, work in plan(provider, seconds, models):
        yield measure(name, partial(_where_it_works, needed, work), begun)


def _keep(models: list[Served], scratch: Path) -> list[Row]:
    """Make the models; those made before one that fails are kept."""
    for model in subjects(scratch):
        models.append(model)
    sizes = {model.name: f"{model.size.height} x {model.size.width}" for model in models}
    return [{"model": name, "pictures": size} for name, size in sizes.items()]


def _where_it_works(provider: Provider | None, work: Callable[[], list[Row]]) -> list[Row]:
    try:
        if provider is not None:
            choose_provider(provider)
    except RuntimeUnusable as refusal:
        raise Skipped(str(refusal)) from None
    return work()


def worst(parts: Sequence[Part]) -> int:
    """The exit status: 1 when something failed, or was not as promised."""
    return int(any(part.status in ("failed", "MISSED") for part in parts))


def main(
    seconds: Annotated[int, typer.Option(min=1, help="Of each load on the service.")] = 4,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Check and measure everything that needs a GPU."""
    begun = time.monotonic()
    result = Result("cuda", seconds=seconds)
    if not visible_gpus():
        driver = "no NVIDIA driver" if visible_gpus() is None else "a driver that shows no GPU"
        result.update(gpu=None, reason=f"{driver} here")
        result.write(json)
        console().print(f"no GPU: there is {driver} here, and nothing was measured")
        return
    parts: list[Part] = []
    with tempfile.TemporaryDirectory() as scratch:
        parts += measured("cuda", seconds, Path(scratch))
    result.update(
        complete=True,
        gpu=cuda_sessions.nvidia_smi("name"),
        total_s=time.monotonic() - begun,
        parts=[asdict(part) for part in parts],
    )
    result.write(json)
    for part in parts:
        console().print(table(part))
    if worst(parts):
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
