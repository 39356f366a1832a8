"""A real service, a real Prometheus, real load and real faults: what is recorded, what fires.

The rules are those that are shipped, with windows divided by 120. Each fault fires its alert and no
other; where one thing is the other's consequence, both.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.acceptance.asking import empty_queries, eventually
from tests.acceptance.troublesome import FOR_EVER, troublesome_bundle
from tests.acceptance.watched import Watched, watched
from tests.deploy.exposition import recordings
from tests.tiny import tiny_bundle

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]

PATIENT = ("--latency-s", "32.768")  # where slowness is not what is tried
ONE_AT_A_TIME = {"workers": "1", "max_batch_rows": "1", "lanes": "1", "max_images": "1"}
FORTY_WAIT = ONE_AT_A_TIME | {"queue_images": "40", "queue_s": "60"}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    troublesome_bundle(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Keep a service whose memory grows: a cache of replies that is given too much.

    Slow growth takes four hours to be seen, here two minutes: it goes on beside the other checks.
    """
    folder = tmp_path_factory.mktemp("growing")
    tiny_bundle(folder / "models", size=256, channels=3)
    settings = {"cache_bytes": str(2**34), "log_level": "warning"}
    with watched(folder, folder / "models", *PATIENT, **settings) as stack:
        over = threading.Event()

        def fill() -> None:
            for turn in count():
                wish = {"seed": 100 * turn, "num_images": 32}
                stack.service.post("/generate", json=wish, headers={"Accept": "application/x-npy"})
                if over.wait(1):
                    return

        thread = threading.Thread(target=fill)
        thread.start()
        try:
            yield stack
        finally:
            over.set()
            thread.join()


def turns_for(stack: Watched, seconds: float) -> float:
    """Return how many turns the model needs to take so long."""
    turns, started = 1000, time.monotonic()
    while stack.generate(turns=turns) == 200 and time.monotonic() - started < 0.1:
        turns, started = 4 * turns, time.monotonic()
    return turns * seconds / (time.monotonic() - started)


@pytest.mark.usefixtures("growing")
def test_what_is_recorded_and_shown_has_data_and_nothing_fires(
    tmp_path: Path, models: Path
) -> None:
    tiny_bundle(models)
    with (
        watched(tmp_path, models, *PATIENT, default_model="tiny") as stack,
        stack.load(2, pause_s=0.05, num_images=3),
        stack.load(1, pause_s=0.05, model="tiny", seed=7),
        stack.load(1, pause_s=0.2, model="nobody"),
    ):
        names = sorted({rule["record"] for rule in recordings()})
        eventually(lambda: [name for name in names if not stack.ask(name)])
        eventually(lambda: empty_queries(stack.ask))
        stack.fires()


def test_failing_inferences_burn_the_availability(tmp_path: Path, models: Path) -> None:
    with watched(tmp_path, models, *PATIENT) as stack, stack.load(1, pause_s=0.1):
        stack.fires(hold_s=1)
        with stack.load(1, pause_s=0.1, fault=1.0):
            stack.fires("GanymedeAvailabilityBurn")


def test_slow_answers_burn_the_latency(tmp_path: Path, models: Path) -> None:
    with (
        watched(tmp_path, models, "--latency-s", "0.016") as stack,
        stack.load(1, turns=turns_for(stack, 0.15)),
    ):
        stack.fires("GanymedeLatencyBurn")


def test_service_that_is_gone(tmp_path: Path, models: Path) -> None:
    with watched(tmp_path, models, *PATIENT) as stack, stack.load(1, pause_s=0.1):
        stack.fires(hold_s=1)
        stack.process.kill()
        stack.fires("GanymedeDown")


def test_service_without_models(tmp_path: Path, models: Path) -> None:
    with watched(tmp_path, models, *PATIENT, watch_s="0.2") as stack:
        shutil.rmtree(models / "troublesome")
        stack.fires("GanymedeNotReady")


def test_inference_that_never_ends(tmp_path: Path, models: Path) -> None:
    # One lane may run on the event loop what should be over at once: then the service is down.
    with watched(tmp_path, models, *PATIENT, lanes="2") as stack, stack.load(4, turns=FOR_EVER):
        try:
            stack.fires("GanymedeNoProgress", hold_s=8)
            eventually(lambda: [] if stack.ask("ganymede_overdue_seconds > 0") else ["not yet"])
            stack.fires("GanymedeNoProgress")
        finally:
            stack.process.kill()


def test_bundle_that_cannot_be_served(tmp_path: Path, models: Path) -> None:
    with watched(tmp_path, models, *PATIENT, watch_s="0.2") as stack, stack.load(1, pause_s=0.1):
        shutil.copytree(models / "troublesome" / "1", models / "troublesome" / "2")
        (models / "troublesome" / "2" / "generate.onnx").write_bytes(b"half")
        stack.fires("GanymedeModelLoadFailure")


def test_queue_that_is_nearly_full(tmp_path: Path, models: Path) -> None:
    with (
        watched(tmp_path, models, *PATIENT, **FORTY_WAIT) as stack,
        stack.load(38, turns=turns_for(stack, 0.1)),
    ):
        stack.fires("GanymedeQueueSaturated")


def test_more_than_the_queue_holds(tmp_path: Path, models: Path) -> None:
    with (
        watched(tmp_path, models, *PATIENT, **FORTY_WAIT) as stack,
        stack.load(60, turns=turns_for(stack, 0.1)),
    ):
        stack.fires("GanymedeQueueSaturated", "GanymedeRefusals")


def test_more_than_may_wait_by_its_time(tmp_path: Path, models: Path) -> None:
    with (
        watched(tmp_path, models, *PATIENT, **ONE_AT_A_TIME) as stack,
        stack.load(60, turns=turns_for(stack, 0.1)),  # of which twenty may wait
    ):
        stack.fires("GanymedeQueueSaturated", "GanymedeRefusals")


def test_deadlines_out_of_reach(tmp_path: Path, models: Path) -> None:
    right = 'sum(rate(ganymede_cost_ratio_bucket{le="2.0"}[3s]))'
    learnt = f"{right} / sum(rate(ganymede_cost_ratio_count[3s])) > 0.9"
    with watched(tmp_path, models, *PATIENT, **ONE_AT_A_TIME, queue_s="60") as stack:
        turns = turns_for(stack, 0.1)
        with stack.load(8, turns=turns):
            eventually(lambda: [] if stack.ask(learnt) else ["what a run costs is not known yet"])
            eventually(lambda: [] if stack.ask("ganymede_queue_rows > 4") else ["no queue yet"])
            with stack.load(1, turns=turns, timeout_s=0.02):
                stack.fires("GanymedeRefusals")


def test_workers_that_end_again_and_again(tmp_path: Path, models: Path) -> None:
    with watched(tmp_path, models, *PATIENT, workers="4") as stack:
        eventually(lambda: [] if stack.ask("ganymede_workers == 4") else ["not all serve yet"])
        pid = stack.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children[-3:]:  # the first goes on
            os.kill(int(child), signal.SIGKILL)
        stack.fires("GanymedeWorkersRestart")


def test_memory_that_grows(growing: Watched) -> None:
    growing.fires("GanymedeMemoryGrows")
