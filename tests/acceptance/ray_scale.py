"""Replicas on a real Ray follow the load; ``test_ray.py`` runs it where Ray does no harm."""

from __future__ import annotations

import os
from pathlib import Path

from tests.acceptance.ray_cluster import Load, cluster
from tests.tiny import tiny_bundle

CLIENTS = 40  # more than the 16 that `serve.yaml` gives to one replica


def test_replicas_come_with_the_load_and_go_after_it(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, size=64, channels=3, convolution=True)
    with cluster(Path(os.environ["GANYMEDE_RAY_PYTHON"]).parent, tmp_path) as running:
        running.deploy(replicas=1, most=2)
        running.settled(1)
        load = Load()
        with load.running(CLIENTS):
            running.settled(2)
            load.answered(5 * CLIENTS)
        running.settled(1)
    statuses = [status for _, status, _ in load.answers]
    told = {status: statuses.count(status) for status in sorted(set(statuses))}
    print(f"one replica became two under {CLIENTS} clients, and one again after them: {told}")
    assert set(told) <= {200, 429}  # a queue too long for one replica is refused until then
    assert told[200] >= CLIENTS
