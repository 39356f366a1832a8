"""The clients of the soak: those that wait for answers and judge them, and those that do not."""

from __future__ import annotations

import asyncio
import io
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from bench.soak_ledger import Ledger, Serving
from bench.soak_models import PICTURES, STARTER
from bench.soak_reference import Numbers, Reference
from bench.soak_shown import shown
from bench.soak_wishes import Mix, Wish

PATIENCE_S = 60
STOPPED = 503  # the answer of a worker that is told to stop
PAUSE_S = 0.02  # between two requests of a client, at most
PIECE_PAUSE_S = 0.1
CLOSES = 0.03  # share of requests after which the connection is closed, to meet another worker
MANY_IMAGES = 48
INCOMPLETE = "incomplete chunked read"  # as httpx says it
DTYPES = {"UINT8": "u1", "FP32": "<f4"}


@dataclass(frozen=True)
class World:
    """What all clients share.

    Attributes:
        over: set when they shall stop.
    """

    host: str
    port: int
    mix: Mix
    reference: Reference
    ledger: Ledger
    serving: Serving
    over: asyncio.Event
    chance: random.Random

    @property
    def url(self) -> str:
        """Of the service."""
        return f"http://{self.host}:{self.port}"

    def client(self) -> httpx.AsyncClient:
        """With one connection, kept alive for less long than the service does."""
        limits = httpx.Limits(max_connections=1, keepalive_expiry=2)
        return httpx.AsyncClient(
            base_url=self.url, limits=limits, timeout=PATIENCE_S, trust_env=False, verify=False
        )


async def polite(world: World) -> None:
    """Ask, wait, judge, until it is over."""
    async with world.client() as client:
        while not world.over.is_set():
            await ask(world, client, world.mix.draw())
            await asyncio.sleep(world.chance.random() * PAUSE_S)


async def ask(world: World, client: httpx.AsyncClient, wish: Wish) -> None:
    """One request, its answer judged and noted."""
    ledger, moment = world.ledger, world.serving.moment()
    name = ledger.begin()
    headers = {**wish.headers, "X-Request-Id": name}
    if world.chance.random() < CLOSES:
        headers["Connection"] = "close"
    content = _in_pieces(wish) if wish.pieces > 1 else wish.body
    try:
        reply = await client.request(wish.method, wish.path, headers=headers, content=content)
    except httpx.TransportError as error:
        if wish.may_break_off and INCOMPLETE in str(error):
            ledger.break_off(name, wish.kind)
        else:
            ledger.lose(name, wish.kind, repr(error), wish.images)
        return
    if reply.status_code == STOPPED:
        ledger.lose(name, wish.kind, reply.text, wish.images)
        return
    ledger.end(name, wish.kind, reply.status_code, wish.images * (reply.status_code == 200))
    if reply.headers.get("X-Request-Id") != name:
        ledger.object(f"{wish.kind}: the answer is to {reply.headers.get('X-Request-Id')}")
    problem = judge(wish, reply, world.reference, world.serving, moment)
    ledger.judged += 1
    if problem:
        ledger.object(f"{wish.kind} {name}: {problem}; asked {wish.path} {wish.body[:200]!r}")


async def _in_pieces(wish: Wish) -> AsyncIterator[bytes]:
    step = -(-len(wish.body) // wish.pieces)
    for start in range(0, len(wish.body), step):
        await asyncio.sleep(PIECE_PAUSE_S)
        yield wish.body[start : start + step]


# --- Is it right? ---


def judge(
    wish: Wish,
    reply: httpx.Response,
    reference: Reference,
    serving: Serving,
    moment: tuple[int, bool],
) -> str | None:
    """What is wrong with an answer, if anything."""
    status, settled = reply.status_code, serving.settled(moment)
    if wish.version is not None and status == 404:
        gone = wish.version not in serving.versions
        return None if gone or not settled else f"version {wish.version} serves, and was not found"
    if status not in wish.statuses:
        return f"status {status}: {reply.text[:300]}"
    if wish.asked is None or status not in (200, 304):
        return None
    if wish.reply == "empty":
        return f"{len(reply.content)} bytes, and none belong there" if reply.content else None
    version, seed = _told(wish, reply)
    if wish.version not in (None, version):
        return f"version {version} answered"
    follows = wish.version is None and wish.asked.model == PICTURES
    if follows and settled and version != serving.default:
        return f"version {version} answered, and {serving.default} is the default"
    if wish.seed not in (None, seed):
        return f"it tells the seed {seed}"
    answer = reference.answer(wish.asked, version, seed)
    if wish.reply == "pictures":
        tag = reply.headers.get("ETag")
        if wish.seed is not None and tag != answer.etag:
            return f"its tag is {tag}, not {answer.etag}"
        body = answer.rendered.body
        if answer.rendered.tells_times:
            same = reply.content.startswith(body) and "timing" in reply.json()
        else:
            same = reply.content == body
        if not same and answer.facts.form.image == "png":
            same = shown(reply.content) == shown(answer.rendered.told({}))
        return None if same else f"other pictures than alone (version {version}, seed {seed})"
    found = _tensor(reply) if wish.reply == "tensors" else _numbers(reply, wish.asked.task)
    same = np.array_equal(found, answer.rows if wish.reply == "tensors" else answer.rows[0])
    return None if same else f"other numbers than alone (version {version}, seed {seed})"


def _told(wish: Wish, reply: httpx.Response) -> tuple[int, int]:
    """The version and the seed that an answer tells of itself."""
    if wish.reply != "tensors":
        return int(reply.headers["Ganymede-Version"]), int(reply.headers["Ganymede-Seed"])
    head = _head(reply)
    return int(head["model_version"]), int(head["parameters"]["seed"])


def _head(reply: httpx.Response) -> dict[str, Any]:
    length = reply.headers.get("Inference-Header-Content-Length")
    head: dict[str, Any] = json.loads(reply.content[: int(length)] if length else reply.content)
    return head


def _tensor(reply: httpx.Response) -> Numbers:
    length = reply.headers.get("Inference-Header-Content-Length")
    [output] = _head(reply)["outputs"]
    dtype = DTYPES[output["datatype"]]
    flat = (
        np.frombuffer(reply.content[int(length) :], dtype)
        if length
        else np.array(output["data"], dtype)
    )
    return flat.reshape(output["shape"])


def _numbers(reply: httpx.Response, task: str) -> Numbers:
    if reply.headers["Content-Type"] == "application/x-npy":
        array: Numbers = np.load(io.BytesIO(reply.content), allow_pickle=False)
        return array
    return np.array(reply.json()["vector" if task == "encode" else "score"], np.float32)


# --- Those that do not wait. ---


async def rude(world: World) -> None:
    """Do what no client should, until it is over."""
    kinds: tuple[Callable[[World], Awaitable[None]], ...] = (
        _vanish_in_body, _vanish_at_once, _vanish_in_reply, _vanish_with_two_pictures,
        _send_too_much, _send_garbage,
    )  # fmt: skip
    while not world.over.is_set():
        begun_s = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await world.chance.choice(kinds)(world)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            if not world.ledger.killed_during(begun_s, time.monotonic()):
                world.ledger.object(f"a client that does not behave found {error!r}")
        await asyncio.sleep(5 * world.chance.random() * PAUSE_S)


async def _send(world: World, head: str, body: bytes) -> tuple[asyncio.StreamReader, Any]:
    reader, writer = await asyncio.open_connection(world.host, world.port)
    writer.write(f"{head}\r\n\r\n".encode() + body)
    await writer.drain()
    return reader, writer


def _generation(name: str, length: int, accept: str) -> str:
    return (
        f"POST /generate HTTP/1.1\r\nHost: soak\r\nX-Request-Id: {name}\r\nAccept: {accept}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}"
    )


def _many(world: World) -> bytes:
    wanted = {"model": STARTER, "num_images": MANY_IMAGES, "seed": world.chance.randrange(2**53)}
    return json.dumps(wanted).encode()


async def _vanish_in_body(world: World) -> None:
    name, body = world.ledger.begin(), _many(world)
    try:
        _, writer = await _send(world, _generation(name, 2 * len(body), "*/*"), body)
        writer.transport.abort()
    finally:
        world.ledger.vanish(name, "vanishes in its body")


async def _vanish_at_once(world: World) -> None:
    name, body = world.ledger.begin(), _many(world)
    try:
        _, writer = await _send(world, _generation(name, len(body), "image/webp"), body)
        await asyncio.sleep(world.chance.random() * PAUSE_S)
        writer.transport.abort()
    finally:
        world.ledger.vanish(name, "vanishes before its reply")


async def _vanish_in_reply(world: World) -> None:
    name, body = world.ledger.begin(), _many(world)
    try:
        reader, writer = await _send(world, _generation(name, len(body), "multipart/mixed"), body)
        await reader.read(100)
        writer.transport.abort()
    finally:
        world.ledger.vanish(name, "vanishes in its reply")


async def _vanish_with_two_pictures(world: World) -> None:
    name, wish = world.ledger.begin(), world.mix.restyle()
    told = {**wish.headers, "Host": "soak", "X-Request-Id": name, "Content-Length": len(wish.body)}
    lines = [f"POST {wish.path} HTTP/1.1", *(f"{key}: {value}" for key, value in told.items())]
    try:
        _, writer = await _send(world, "\r\n".join(lines), wish.body)
        await asyncio.sleep(world.chance.random() * PAUSE_S)
        writer.transport.abort()
    finally:
        world.ledger.vanish(name, "vanishes from a translation")


async def _send_too_much(world: World) -> None:
    name, kind = world.ledger.begin(), "too large"
    try:
        reader, writer = await _send(world, _generation(name, 10**12, "*/*"), b"{")
        status = int((await reader.readline()).split()[1])
        writer.transport.abort()
    except (OSError, IndexError) as error:
        world.ledger.lose(name, kind, repr(error))
        return
    world.ledger.end(name, kind, status)
    if status != 413:
        world.ledger.object(f"{kind}: status {status}")


async def _send_garbage(world: World) -> None:
    """What is no HTTP never becomes a request."""
    reader, writer = await _send(world, "NO HTTP AT ALL", b"")
    said = await reader.read(200)
    writer.transport.abort()
    if said and b" 400 " not in said.splitlines()[0]:
        world.ledger.object(f"no HTTP was answered with {said[:80]!r}")
