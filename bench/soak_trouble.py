"""What happens to the service in a soak: its models change, and its workers are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import httpx

from bench.soak_clients import World
from bench.soak_models import PICTURES, STARTER, VERSIONS

CHANGE_EVERY_S = 1.5
LOOK_EVERY_S = 0.2


def worker_pids(server: int, root: Path = Path("/proc")) -> list[int]:
    """The children of a server that serve, by the process tree; none where it serves alone."""
    found = []
    for stat in root.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = stat.read_text().rpartition(")")[2].split()
            serves = b"service.worker" in (stat.parent / "cmdline").read_bytes()
            if int(fields[1]) == server and fields[0] != "Z" and serves:
                found.append(int(stat.parent.name))
    return sorted(found)


async def kill_workers(world: World, server: int, every_s: float, kills: int) -> None:
    """Kill one worker after another, each when all serve: else the last that does is killed."""
    whole = len(worker_pids(server))
    for _ in range(kills):
        if await _ends_within(world.over, every_s):
            return
        # Twice: a worker that starts during a look may be in its number, and not yet unready.
        while not (await _is_whole(world, whole) and await _is_whole(world, whole)):
            if await _ends_within(world.over, LOOK_EVERY_S):
                return
        world.ledger.kill()
        os.kill(world.chance.choice(worker_pids(server)), signal.SIGKILL)


async def _is_whole(world: World, workers: int) -> bool:
    """Whether all serve; one that still loads is not ready, and so not all are."""
    async with world.client() as client:
        try:
            text = (await client.get("/metrics")).text
        except httpx.TransportError:
            return False
    return {f"ganymede_workers {float(workers)}", "ganymede_ready 1.0"} <= set(text.splitlines())


async def _ends_within(over: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)
    return over.is_set()


async def change_models(world: World) -> None:
    """Load, unload, reload, choose and roll back, until it is over; everything serves then."""
    async with world.client() as client:
        while not await _ends_within(world.over, CHANGE_EVERY_S * 2 * world.chance.random()):
            await _change(world, client, *_drawn(world))
        await _change(world, client, PICTURES, "load", {})


def _drawn(world: World) -> tuple[str, str, dict[str, Any]]:
    """A change that makes sense now."""
    serving, chance = world.serving, world.chance
    other = chance.choice([version for version in VERSIONS if version != serving.default])
    if serving.versions < frozenset(VERSIONS) and chance.random() < 0.6:
        return PICTURES, "load", {}
    return chance.choice(
        [
            (STARTER, "reload", {}),
            (PICTURES, "reload", {"version": serving.default}),
            (PICTURES, "reload", {}),
            (PICTURES, "default", {"version": other}),
            (PICTURES, "rollback", {}),
            (PICTURES, "unload", {"version": other}),
        ]
    )


async def _change(
    world: World, client: httpx.AsyncClient, model: str, action: str, body: dict[str, Any]
) -> None:
    """Make one, and learn what serves then."""
    ledger, serving = world.ledger, world.serving
    serving.changing, serving.changes = True, serving.changes + 1
    try:
        status = await _post(world, client, f"/admin/models/{model}/{action}", body)
        ledger.changes[action, status] += 1
        while not await _learn(world, client):
            await asyncio.sleep(LOOK_EVERY_S)
        if status == 200 and action == "default" and serving.default != body["version"]:
            ledger.object(f"version {serving.default} is the default after {action} {body}")
        if status not in (0, 200, 409):
            ledger.object(f"{action} {body} of {model} was answered with {status}")
    finally:
        serving.changing = False


async def _post(world: World, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> int:
    """The status; 0 where the worker that was asked ended."""
    name = world.ledger.begin()
    try:
        reply = await client.post(path, json=body, headers={"X-Request-Id": name})
    except httpx.TransportError as error:
        world.ledger.lose(name, "change", repr(error))
        return 0
    world.ledger.end(name, "change", reply.status_code)
    return reply.status_code


async def _learn(world: World, client: httpx.AsyncClient) -> bool:
    """Ask what serves; whether there was an answer."""
    name = world.ledger.begin()
    try:
        reply = await client.get("/admin/models", headers={"X-Request-Id": name})
    except httpx.TransportError as error:
        world.ledger.lose(name, "change", repr(error))
        return False
    told = {each["name"]: each for each in reply.json().get("models", ())}.get(PICTURES)
    world.ledger.end(name, "what serves" if told else "nothing serves yet", reply.status_code)
    if told is None:  # a worker that has not looked into the folders yet
        return False
    serves = [each for each in told["versions"] if each["state"] == "serving"]
    world.serving.versions = frozenset(each["version"] for each in serves)
    [world.serving.default] = [each["version"] for each in serves if each["default"]]
    return True
