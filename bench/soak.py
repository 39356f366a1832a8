"""Does it hold? A real ``ganymede serve`` under everything at once, for minutes.

The starter, two versions of a model that starts from pictures of any size, and one that reads texts
(``soak_models.py``) are asked for all that the service answers (``soak_wishes.py``), by clients
that judge each answer against pictures made alone (``soak_reference.py``), and by others that
vanish or send nonsense (``soak_clients.py``). Meanwhile models are loaded, unloaded, reloaded,
chosen and rolled back all the time, and workers are killed in the first tenth
(``soak_trouble.py``): memory is judged when the last that took one's place is five minutes old.
What clients saw (``soak_ledger.py``), what the service counted and logged (``soak_watch.py``) and
what was to be expected are compared in ``soak_checks.py``; exit status 1 says that something does
not hold.

The mix is drawn from ``--seed``; what happens at once is up to the machine. Ctrl-C ends the soak
early, and judges what there was.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bench.command import console, run
from bench.processes import free_port, process
from bench.progress import shown
from bench.result import Result
from bench.soak_checks import Check, checks
from bench.soak_clients import World, polite, rude
from bench.soak_ledger import Ledger, Serving
from bench.soak_models import STARTER, VERSIONS, make_models
from bench.soak_reference import Reference
from bench.soak_trouble import LOOK_EVERY_S, change_models, kill_workers, worker_pids
from bench.soak_watch import Counters, Log, Memory
from bench.soak_wishes import FIRST_SEED, Mix
from training.data.progress import Progress

HOST = "127.0.0.1"
CACHE_BYTES = 4 * 2**20  # full long before memory is judged
RUDE_CLIENTS = 3
TROUBLED = 0.1  # of the time, in which workers are killed
KILL_EVERY_S = 20.0
FEWEST_KILLS = 2
SETTLE_S = 60.0


@dataclass(frozen=True)
class Soak:
    """What one was made of, and what it left behind."""

    ledger: Ledger
    counters: Counters
    memory: Memory
    found: list[Check]
    seconds: float


def soak(folder: Path, seconds: float, seed: int, clients: int, progress: Progress) -> Soak:
    """Serve, ask, trouble, and judge; ``folder`` is empty and the soak's own."""
    models, log = folder / "models", folder / "log"
    models.mkdir()
    reference = Reference(make_models(models))
    chance = random.Random(seed)
    mix, ledger = Mix(chance, reference), Ledger()
    serving = Serving(max(VERSIONS), frozenset(VERSIONS))
    for k, asked in enumerate(warm := mix.warm()):
        progress("reference", k, len(warm))
        reference.answer(asked, 1, FIRST_SEED)
    progress("reference", len(warm), len(warm))
    port = free_port()
    command = [sys.executable, "-m", "ganymede", "serve", "--port", str(port)]
    settings = {
        "GANYMEDE_MODELS": str(models),
        "GANYMEDE_STATE_FILE": str(folder / "state.json"),
        "GANYMEDE_DEFAULT_MODEL": STARTER,
        "GANYMEDE_CACHE_BYTES": str(CACHE_BYTES),
    }
    with process(command, f"http://{HOST}:{port}/health/ready", settings, log) as server:
        world = World(HOST, port, mix, reference, ledger, serving, asyncio.Event(), chance)
        counters, memory = Counters(), Memory(server)
        lasted_s = asyncio.run(_run(world, server, seconds, clients, counters, memory, progress))
    found = list(checks(ledger, counters, memory, Log.read(log), seconds * TROUBLED))
    return Soak(ledger, counters, memory, found, lasted_s)


async def _run(
    world: World,
    server: int,
    seconds: float,
    clients: int,
    counters: Counters,
    memory: Memory,
    progress: Progress,
) -> float:
    """The soak itself; how long it lasted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, world.over.set)
    begun_s = time.monotonic()
    kills = max(FEWEST_KILLS, int(seconds * TROUBLED / KILL_EVERY_S))
    if len(worker_pids(server)) < 2:
        kills = 0  # one process serves alone: nobody would take its place
    watchers = [asyncio.create_task(each) for each in (memory.watch(), counters.watch(world))]
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(polite(world))
        for _ in range(RUDE_CLIENTS):
            group.create_task(rude(world))
        group.create_task(change_models(world))
        every_s = seconds * TROUBLED / max(1, kills)
        group.create_task(kill_workers(world, server, every_s, kills))
        while not world.over.is_set():
            lasted_s = time.monotonic() - begun_s
            progress("soak", min(int(lasted_s), int(seconds)), int(seconds))
            if lasted_s >= seconds:
                world.over.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(world.over.wait(), min(1.0, max(0.01, seconds - lasted_s)))
    lasted_s = time.monotonic() - begun_s
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    await _settle(world, counters)
    return lasted_s


async def _settle(world: World, counters: Counters) -> None:
    """Wait until the last worker that was killed is replaced, and the last request withdrawn."""
    until_s = time.monotonic() + SETTLE_S
    async with world.client() as client:
        await counters.look(client)
        while time.monotonic() < until_s and not counters.settled(len(world.ledger.kills_s)):
            await asyncio.sleep(LOOK_EVERY_S)
            await counters.look(client)


def show(done: Soak) -> None:
    """The table of checks, and what was wrong."""
    ledger, page = done.ledger, console()
    table = Table(title=f"Soak of {done.seconds:.0f} s", title_justify="left")
    for name in ("", "holds", ""):
        table.add_column(name)
    for check in done.found:
        held = {True: "yes", False: "NO", None: "cannot tell"}[check.met]
        table.add_row(check.name, held, check.told)
    page.print(table)
    kinds = sorted({kind for kind, _ in ledger.kinds})
    told = (f"{kind}: {_statuses(ledger, kind)}" for kind in kinds)
    page.print(f"{ledger.issued:,} requests. " + "; ".join(told), markup=False)
    changes = (f"{name} {status}: {n}" for (name, status), n in sorted(ledger.changes.items()))
    page.print("changes: " + ", ".join(changes), markup=False)
    for problem in ledger.problems:
        page.print(f"problem: {problem}", markup=False)


def _statuses(ledger: Ledger, kind: str) -> str:
    found = sorted((status, n) for (each, status), n in ledger.kinds.items() if each == kind)
    return ", ".join(f"{n} x {status}" for status, n in found)


def facts(done: Soak) -> dict[str, object]:
    """What goes into the file."""
    ledger = done.ledger
    return {
        "checks": [asdict(check) for check in done.found],
        "lasted_s": done.seconds,
        "requests": ledger.issued,
        "kinds": {f"{kind} {status}": n for (kind, status), n in sorted(ledger.kinds.items())},
        "vanished": Counter(ledger.vanished.values()),
        "lost": [asdict(each) for each in ledger.lost],
        "kills": len(ledger.kills_s),
        "changes": {f"{name} {status}": n for (name, status), n in sorted(ledger.changes.items())},
        "problems": ledger.problems,
        "memory": [(round(at_s, 1), nbytes) for at_s, nbytes in done.memory.samples],
    }


def main(
    seconds: Annotated[float, typer.Option(min=5, help="How long.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Of the mix.")] = 0,
    clients: Annotated[int, typer.Option(min=1, help="That wait for their answers.")] = 16,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the log of the service here.")] = None,
) -> None:
    """Soak the service in everything at once, and check that all adds up."""
    result = Result("soak", seconds=seconds, seed=seed, clients=clients)
    with tempfile.TemporaryDirectory() as scratch, shown() as progress:
        try:
            done = soak(Path(scratch), seconds, seed, clients, progress)
        finally:
            if keep is not None:
                shutil.copyfile(Path(scratch) / "log", keep)
    complete = done.seconds >= seconds
    if not complete:
        print(f"interrupted after {done.seconds:.0f} s", file=sys.stderr)
    result.update(**facts(done), complete=complete)
    result.write(json)
    show(done)
    if not complete or any(check.met is False for check in done.found):
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
