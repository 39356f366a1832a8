"""A closed loop in asyncio, for machines without wrk: its own cost is in what it measures."""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import urlsplit

import numpy as np

from bench.command import BenchError
from bench.h2load import REFUSALS
from bench.loads import Closed, Outcome
from bench.wrk import SEED_AGAIN


def attack(url: str, load: Closed, seconds: float) -> Outcome:
    """Ask ``url`` for ``load.images`` images a request, over as many connections as clients.

    Raises:
        BenchError: it cannot be reached, or breaks a connection off.
    """
    try:
        return asyncio.run(_attack(url, load, seconds))
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        raise BenchError(f"{url} does not answer as it should: {error}") from error


async def _attack(url: str, load: Closed, seconds: float) -> Outcome:
    started = time.perf_counter()
    until = started + seconds
    clients = (_client(url, load, until) for _ in range(load.clients))
    answers = [answer for found in await asyncio.gather(*clients) for answer in found]
    took_s = time.perf_counter() - started
    refused = sum(status in REFUSALS for status, _ in answers)
    good = [spent for status, spent in answers if status == 200]
    p50, p99 = np.percentile(good, (50, 99)) * 1e3 if good else (0.0, 0.0)
    return Outcome(
        requests_per_s=len(good) / took_s,
        images_per_s=len(good) / took_s * load.images,
        p50_ms=float(p50),
        p99_ms=float(p99),
        refused_per_s=refused / took_s,
        failed=len(answers) - len(good) - refused,
    )


async def _client(url: str, load: Closed, until: float) -> list[tuple[int, float]]:
    """The status and the seconds of each answer."""
    parts = urlsplit(url)
    seed = {"seed": SEED_AGAIN} if load.again else {}
    body = json.dumps({"num_images": load.images} | seed)
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**24)
    found = []
    try:
        while (started := time.perf_counter()) < until:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            lengths = [line for line in head if line.lower().startswith("content-length:")]
            await reader.readexactly(int(lengths[0].partition(":")[2]) if lengths else 0)
            found.append((int(head[0].split()[1]), time.perf_counter() - started))
    finally:
        writer.close()
    return found
