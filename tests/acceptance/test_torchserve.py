"""Archives in a real TorchServe, beside the service with the same bundles: image by image."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from export.bundle import load_bundle
from export.to_torchserve import to_torchserve
from tests.acceptance.asking import eventually
from tests.acceptance.torchserve import TorchServe, torchserve
from tests.deploy.asked import ANIMALS, INVERT, WRONG, Row, assert_same, path_of, png
from tests.deploy.scripted import asked_bundles
from tests.service.processes import running

pytestmark = pytest.mark.acceptance

GOOD = [*(("animals", body) for body in ANIMALS), *(("invert", body) for body in INVERT)]
ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 16
TOLD = "ganymede_torchserve"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked_bundles(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def rival(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """TorchServe with both models, every worker ready."""
    folder = tmp_path_factory.mktemp("torchserve")
    for name in ("animals", "invert"):
        to_torchserve(load_bundle(models / name / "1"), folder / "store")
    with torchserve(folder, {"animals", "invert"}) as running:
        yield running


@pytest.fixture(scope="module")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The service with the same bundles."""
    log = tmp_path_factory.mktemp("service") / "log"
    with (
        running(log, "--models", models, "--workers", "1") as (_, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def predict(rival: TorchServe, model: str, body: Row) -> httpx.Response:
    return rival.inference.post(f"/predictions/{model}", json=body)


@pytest.mark.parametrize(("model", "body"), GOOD)
def test_torchserve_answers_as_the_service(
    model: str, body: Row, rival: TorchServe, service: httpx.Client
) -> None:
    ours, theirs = (
        predict(rival, model, body),
        service.post(path_of(body), json={"model": model, **body}),
    )
    assert (ours.status_code, theirs.status_code) == (200, 200), (ours.text, theirs.text)
    assert ours.headers["content-type"] == "application/json"
    assert ours.headers["ganymede-seed"] == theirs.headers["ganymede-seed"]
    assert_same(ours.json(), theirs.json())


@pytest.mark.parametrize(("model", "body"), WRONG)
def test_torchserve_refuses_as_the_service(
    model: str, body: Row, rival: TorchServe, service: httpx.Client
) -> None:
    ours = predict(rival, model, body)
    theirs = service.post(path_of(body), json={"model": model, **body})
    assert ours.status_code == theirs.status_code
    assert ours.headers["content-type"] == "application/problem+json"
    assert ours.json()["type"] == theirs.json()["type"]


def test_body_that_is_not_json_is_told_where(rival: TorchServe) -> None:
    headers = {"Content-Type": "application/json"}
    reply = rival.inference.post("/predictions/animals", content=b'{"seed":', headers=headers)
    assert reply.status_code == 400
    assert "line 1 column 8" in reply.json()["detail"]


def test_picture_may_come_in_a_form(rival: TorchServe, service: httpx.Client) -> None:
    knobs = {"seed": "3", "strength": "0.5"}
    parts = {"image": ("a.png", png(), "image/png")}
    reply = rival.inference.post("/predictions/invert", data=knobs, files=parts)
    theirs = service.post("/translate", data={"model": "invert", **knobs}, files=parts).json()
    assert reply.status_code == 200, reply.text
    assert_same(reply.json(), theirs)


def test_picture_whose_query_is_lost_is_refused(rival: TorchServe) -> None:
    headers = {"Content-Type": "image/png"}
    url = "/predictions/invert?seed=3"
    reply = rival.inference.post(url, content=png(), headers=headers)
    assert reply.status_code == 415
    assert "as a form" in reply.json()["detail"]


def test_batches_form_and_a_bad_item_spoils_no_other(rival: TorchServe) -> None:
    bodies: list[Row] = [{"seed": seed, "num_images": 2} for seed in range(8 * AT_ONCE)]
    for place in range(0, len(bodies), 5):
        bodies[place] = {"label": "foks"}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        replies = list(pool.map(lambda body: predict(rival, "animals", body), bodies))
    for body, reply in zip(bodies, replies, strict=True):
        if "seed" not in body:
            assert reply.status_code == 422
            continue
        assert reply.status_code == 200, reply.text
        alone = predict(rival, "animals", body).json()
        assert_same(reply.json(), alone)

    def wrong() -> list[str]:
        counted = counters(rival)
        requests = counted['ts_inference_requests_total{model_name="animals"']
        batches = counted[f'{TOLD}_batches_total{{ModelName="animals"']
        return [] if 0 < batches < requests else [f"{batches} batches, {requests} requests"]

    eventually(wrong)


def test_metrics_tell_what_was_done(rival: TorchServe) -> None:
    predict(rival, "animals", {"num_images": 3})
    predict(rival, "animals", {"label": "foks"})

    def wrong() -> list[str]:
        counted = counters(rival)
        wanted = [f"{TOLD}_{what}_total" for what in ("images", "run_seconds", "batches")]
        series = [f'{name}{{ModelName="animals"' for name in wanted]
        series.append(f'{TOLD}_refusals_total{{ModelName="animals",Reason="InvalidInput"')
        return [name for name in series if counted.get(name, 0) <= 0]

    eventually(wrong)


def test_health_check_of_the_image_knows_the_workers(rival: TorchServe) -> None:
    text = (ROOT / "deploy" / "torchserve.Dockerfile").read_text("utf-8").replace("\\\n", "")
    (command,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", text, re.MULTILINE)
    _, option, program = json.loads(command)
    port = str(rival.management.base_url.port)
    known = [sys.executable, option, program.replace("8081", port)]
    assert subprocess.run(known, timeout=60, check=False).returncode == 0
    reply = rival.management.put("/models/invert?min_worker=0&synchronous=true")
    try:
        assert reply.status_code == 200, reply.text
        assert subprocess.run(known, timeout=60, check=False).returncode == 1
    finally:
        rival.management.put("/models/invert?min_worker=1&synchronous=true")


def counters(rival: TorchServe) -> dict[str, float]:
    """Return the values of all series, by their names and labels before those of the machine."""
    text = rival.metrics.get("/metrics").text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    found: dict[str, float] = {}
    for series, _, value in lines:
        kept = series.partition(",Hostname=")[0].partition(",model_version=")[0].rstrip(",}")
        found[kept] = found.get(kept, 0) + float(value)
    return found
