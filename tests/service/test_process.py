"""What each of several workers gets of the settings that are meant for all."""

from __future__ import annotations

from pathlib import Path

from service.config import ServiceConfig
from service.process import Assignment


def share(config: ServiceConfig, workers: int, cores: int) -> ServiceConfig:
    assignment = Assignment(0, workers, "/run/shared", replaces=False, settings={})
    return assignment.share(config, cores)


def test_workers_share_what_is_meant_for_all() -> None:
    whole = ServiceConfig(queue_images=1000, queue_bytes=2**30, cache_bytes=1000)
    mine = share(whole, 4, cores=9)
    assert (mine.cores, mine.queue_images) == (2, 250)
    assert (mine.queue_bytes, mine.cache_bytes) == (2**28, 250)


def test_every_worker_takes_the_largest_request() -> None:
    whole = ServiceConfig(queue_images=100, max_images=64, queue_bytes=2**27)
    mine = share(whole, 8, cores=2)
    assert (mine.cores, mine.queue_images, mine.queue_bytes) == (1, 64, 2**26)
    assert share(ServiceConfig(queue_bytes=2000), 2, cores=2).queue_bytes == 2000


def test_the_limits_of_keys_are_for_all_workers_together() -> None:
    assert share(ServiceConfig(), 2, cores=2).runtime_folder == Path("/run/shared")
    own = ServiceConfig(runtime_folder=Path("/own"))
    assert share(own, 2, cores=2).runtime_folder == Path("/own")
