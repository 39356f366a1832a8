"""The checks of the service on a real Ray; ``test_ray.py`` runs them where Ray does no harm."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.ray_cluster import Cluster, Load, ask, cluster
from tests.service.processes import running
from tests.tiny import tiny_bundle

CLIENTS = 8
SEEDS = range(16)
ASKED = 300  # times, for what a hop costs


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder, size=64, channels=3, convolution=True)
    return folder


@pytest.fixture(scope="module")
def two(models: Path) -> Iterator[Cluster]:
    """Ray with two replicas."""
    python = Path(os.environ["GANYMEDE_RAY_PYTHON"])
    with cluster(python.parent, models) as running:
        running.deploy(replicas=2)
        running.settled(2)
        yield running


@pytest.fixture(scope="module")
def direct(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The service itself, with the same bundles."""
    log = tmp_path_factory.mktemp("direct") / "log"
    with (
        running(log, "--models", models, "--workers", "1") as (_, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def pictures(direct: httpx.Client) -> dict[int, Any]:
    """What the service itself makes of the seeds."""
    answers = [ask(direct, seed) for seed in SEEDS]
    assert {status for _, status, _ in answers} == {200}
    return {seed: images for seed, _, images in answers}


def assert_every_replica_makes(pictures: dict[int, Any], two: Cluster) -> None:
    """Ask for each seed often enough that each replica answers many."""
    before = two.counted(2)
    for seed in [*SEEDS] * 8:
        assert ask(two.client, seed) == (seed, 200, pictures[seed])
    name = 'ganymede_requests_total{model="tiny",route="/generate",status="200"}'
    after = two.counted(2)
    shares = [after[each][name] - before[each].get(name, 0) for each in after]
    print(f"{len(SEEDS)} seeds, 8 times each: {shares} answers of the two replicas, all the same")
    assert min(shares) >= len(SEEDS)


def test_same_seed_is_the_same_picture_on_every_replica(
    two: Cluster, pictures: dict[int, Any]
) -> None:
    assert_every_replica_makes(pictures, two)


def test_replies_pass_whatever_they_are(two: Cluster, direct: httpx.Client) -> None:
    body = {"seed": 3, "num_images": 5}
    for form in ("application/x-npy", "application/zip", "image/png"):
        headers = {"Accept": form}
        ours, theirs = (
            c.post("/generate", json=body, headers=headers) for c in (two.client, direct)
        )
        assert (ours.status_code, ours.content) == (200, theirs.content)
    with two.client.stream(
        "POST", "/generate", json=body, headers={"Accept": "multipart/mixed"}
    ) as reply:
        assert reply.read().count(b"\x89PNG\r\n") == 5


def test_refusals_pass_with_what_to_change(two: Cluster) -> None:
    reply = two.client.post("/generate", json={"label": "stat"})
    assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json")
    assert len(reply.headers.get_list("x-request-id")) == 1


def test_what_a_hop_costs(two: Cluster, direct: httpx.Client) -> None:
    """Prints it: no number is asserted on."""
    for name, path in (("an empty answer", "/health/live"), ("a new picture", "/generate")):
        (fast, usual), (ray_fast, ray_usual) = (asked_ms(c, path) for c in (direct, two.client))
        print(
            f"{name}, {ASKED} times, one client: directly {usual:.2f} ms (median; the quickest "
            f"{fast:.2f}), through Ray Serve {ray_usual:.2f} ms ({ray_fast:.2f})"
        )


def asked_ms(client: httpx.Client, path: str) -> tuple[float, float]:
    """Return how long answers take, asked one after the other: the quickest, and the median."""
    took = []
    for _ in range(ASKED):
        start = time.perf_counter()
        reply = client.post(path, json={}) if path == "/generate" else client.get(path)
        took.append(1000 * (time.perf_counter() - start))
        assert reply.status_code == 200
    return min(took), statistics.median(took)


def test_killed_replica_takes_only_its_own_requests_along(
    two: Cluster, pictures: dict[int, Any]
) -> None:
    victim, survivor = sorted(two.settled(2))
    load = Load()
    with load.running(CLIENTS):
        load.answered(20 * CLIENTS)
        before = len(load.answers)
        os.kill(victim, signal.SIGKILL)
        after = two.replaced(victim)
        load.answered(20 * CLIENTS)
    lost = [status for _, status, _ in load.answers if status != 200]
    print(
        f"killed one of two replicas under {CLIENTS} clients, after {before} answers: "
        f"{len(lost)} of {len(load.answers)} requests lost ({sorted(set(lost))})"
    )
    assert survivor in after
    assert len(lost) <= CLIENTS, "each client had one request, at most one lost it"
    for told in two.counted(2).values():  # of the survivor and of the replacement
        answered = {name for name in told if name.startswith("ganymede_requests_total")}
        failed = {name for name in answered if 'status="4' in name or 'status="5' in name}
        assert {name for name in failed if 'status="422"' not in name} == set()
    assert_every_replica_makes(pictures, two)


def test_replica_that_is_stopped_finishes_what_it_accepted(two: Cluster) -> None:
    load = Load()
    with load.running(CLIENTS):
        load.answered(5 * CLIENTS)
        two.deploy(replicas=1)
        two.settled(1)
        load.answered(5 * CLIENTS)
    lost = [status for _, status, _ in load.answers if status != 200]
    print(f"stopped one of two replicas: {len(lost)} of {len(load.answers)} requests lost")
    assert lost == []
