"""The handler of the archives, without TorchServe: it answers as the service does, item by item."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

import ganymede_graphs
from export import to_torchserve
from export.bundle import ChecksumMismatch
from export.manifest import Graph
from ganymede_graphs import Graphs
from ganymede_handler import COUNTERS, Handler
from ganymede_requests import Limits
from service.app import create_app
from service.config import ServiceConfig
from service.images import Pixels
from service.replies import Facts, Rendered, render
from service.rows import Rows
from tests.deploy.asked import ANIMALS, INVERT, TEXT, WRONG, Row, assert_same, path_of, pixels, png
from tests.deploy.scripted import FakeContext, asked_bundles
from tests.service.conftest import serving

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy" / "torchserve"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked_bundles(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
async def client(models: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service with the same bundles."""
    async with serving(create_app(ServiceConfig(models=(models,), watch_s=0))) as client:
        yield client


class Worker:
    """A handler as TorchServe starts it, with one bundle."""

    def __init__(self, models: Path, name: str, folder: Path, **told: object) -> None:
        shutil.copytree(models / name / "1", folder / "bundle")
        for unused in (folder / "bundle").glob("*.onnx"):
            unused.unlink()
        self.context = FakeContext(folder, told)
        self.handler = Handler()
        self.handler.initialize(self.context)

    def parts(self, *requests: tuple[Row, str]) -> list[bytes]:
        """Answer a batch of parts, each with the media type of its body."""
        self.context.requests = [{"body": {"content-type": kind}} for _, kind in requests]
        return self.handler.handle([row for row, _ in requests], self.context)

    def __call__(self, *bodies: Row) -> list[Any]:
        """Answer a batch of bodies that came as JSON."""
        raw = [({"body": json.dumps(body).encode()}, "application/json") for body in bodies]
        return [json.loads(reply) for reply in self.parts(*raw)]


@pytest.fixture
def animals(models: Path, tmp_path: Path) -> Worker:
    return Worker(models, "animals", tmp_path / "animals")


@pytest.fixture
def invert(models: Path, tmp_path: Path) -> Worker:
    return Worker(models, "invert", tmp_path / "invert")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the rows of every run."""
    noted: list[int] = []
    plain = Graphs._run

    def run(self: Graphs, graph: Graph, rows: Rows) -> Rows:
        noted.append(len(rows))
        return plain(self, graph, rows)

    monkeypatch.setattr(Graphs, "_run", run)
    return noted


async def service_reply(client: httpx.AsyncClient, model: str, body: Row) -> httpx.Response:
    return await client.post(path_of(body), json={"model": model, **body})


@pytest.mark.parametrize(("name", "bodies"), [("animals", ANIMALS), ("invert", INVERT)])
async def test_batch_is_answered_as_the_service_answers(
    name: str, bodies: list[Row], models: Path, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    worker = Worker(models, name, tmp_path / name)
    replies = worker(*bodies)
    for place, body in enumerate(bodies):
        assert worker.context.statuses[place] == (200, "OK"), replies[place]
        theirs = await service_reply(client, name, body)
        assert_same(replies[place], theirs.json())
        headers = worker.context.headers[place]
        told = {key: value for key, value in headers.items() if key.startswith("Ganymede-")}
        assert told.items() <= {key.title(): value for key, value in theirs.headers.items()}.items()
        assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(("name", "body"), WRONG)
async def test_bad_item_is_refused_as_by_the_service_and_spoils_no_other(
    name: str, body: Row, models: Path, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    worker = Worker(models, name, tmp_path / name)
    good = {"seed": 7, "num_images": 2}
    before, refusal, after = worker(good, body, good)
    theirs = (await service_reply(client, name, body)).json()
    assert worker.context.statuses[1] == (theirs["status"], theirs["title"])
    assert worker.context.headers[1]["content-type"] == "application/problem+json"
    assert refusal["type"] == theirs["type"]
    if theirs["status"] != 404:
        assert refusal["detail"] == theirs["detail"]
        assert refusal.get("errors") == theirs.get("errors")
    assert before["images"] == after["images"] == worker(good)[0]["images"]


def test_seed_alone_is_the_same_picture(animals: Worker) -> None:
    wanted = {"label": "fox", "format": "npy"}
    together, *_ = animals({"seed": 7, "num_images": 5, **wanted}, {"seed": 100, "num_images": 9})
    for image in together["images"]:
        (alone,) = animals({"seed": image["seed"], **wanted})
        near = zip(pixels(alone), pixels({**together, "images": [image]}), strict=True)
        assert all(np.abs(one.astype(int) - other).max() <= 1 for one, other in near)


def test_drawn_seed_is_told(animals: Worker) -> None:
    (first,) = animals({})
    (again,) = animals({"seed": first["seed"]})
    assert again["images"] == first["images"]


def test_requests_of_one_shape_share_a_run(invert: Worker, runs: list[int]) -> None:
    replies = invert({"num_images": 2}, {"height": 6, "width": 8}, {"num_images": 3}, {"seed": -1})
    assert sorted(runs) == [1, 5]
    assert [len(reply["images"]) for reply in replies[:3]] == [2, 1, 3]


def test_runs_are_bounded(models: Path, tmp_path: Path, runs: list[int]) -> None:
    worker = Worker(models, "animals", tmp_path / "few", max_batch_rows=4)
    bodies = [{"seed": 7, "num_images": 3}, {"seed": 10, "num_images": 6}]
    replies = worker(*bodies)
    assert runs == [4, 4, 1]
    seeds = [image["seed"] for reply in replies for image in reply["images"]]
    assert seeds == list(range(7, 16))


def test_limits_are_those_of_the_archive(models: Path, tmp_path: Path) -> None:
    worker = Worker(models, "invert", tmp_path / "few", max_images=2, max_input_bytes=2000)
    many, large, small = worker({"num_images": 3}, {"height": 16, "width": 16}, {"seed": 1})
    assert (many["status"], large["status"]) == (422, 413)
    assert len(small["images"]) == 1


def test_poisoned_item_fails_alone(animals: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Graphs._run

    def run(self: Graphs, graph: Graph, rows: Rows) -> Rows:
        if (rows["label"] == 2).any():
            raise RuntimeError("a secret of the device")
        return plain(self, graph, rows)

    monkeypatch.setattr(Graphs, "_run", run)
    good = {"seed": 7, "label": "cat"}
    replies = animals(good, good, {"label": "fox"}, good, good)
    assert [animals.context.statuses[place][0] for place in range(5)] == [200, 200, 500, 200, 200]
    assert "secret" not in json.dumps(replies[2])
    assert len({json.dumps(replies[place]["images"]) for place in (0, 1, 3, 4)}) == 1


def test_body_may_have_been_decoded_by_torchserve(animals: Worker) -> None:
    body = {"seed": 7, "label": "fox", "num_images": 2}
    replies = animals.parts(
        ({"body": body}, "application/json"),
        ({"body": bytearray(json.dumps(body).encode())}, "application/json; charset=utf-8"),
    )
    images = [json.loads(reply)["images"] for reply in replies]
    assert images[0] == images[1]


def test_picture_may_come_in_a_form(invert: Worker) -> None:
    knobs = {"seed": bytearray(b"3"), "strength": b"0.5"}
    in_json = {"image": TEXT, "seed": 3, "strength": 0.5}
    replies = invert.parts(
        ({"body": in_json}, "application/json"),
        ({"image": bytearray(png()), **knobs}, ""),
        ({"file": bytearray(png()), **knobs}, ""),
    )
    images = [json.loads(reply)["images"] for reply in replies]
    assert images.count(images[0]) == len(images)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"seed": 7', "application/json", 400),
        (b'{"image": "', "application/json", 400),
        (b"[" * 100_000 + b'"image"', "application/json", 400),
        (b'["image"]', "application/json", 422),
        (b"seed=7", "text/plain", 415),
        (png(), "image/png", 415),
        (b"", "application/json", 400),
        ("text that torchserve decoded", "text/plain", 415),
        (None, "application/json", 422),
    ],
)
def test_body_that_is_no_request_is_refused(
    body: object, kind: str, status: int, invert: Worker
) -> None:
    good = ({"body": b'{"seed": 7}'}, "application/json")
    invert.parts(({"body": body}, kind), good)
    assert [invert.context.statuses[place][0] for place in (0, 1)] == [status, 200]


@pytest.mark.parametrize(
    "row", [{"seed": b"7"}, {"image": png(), "file": png()}, {"image": png(), "seed": b"\xff"}]
)
def test_form_that_is_no_request_is_refused(row: Row, invert: Worker) -> None:
    (reply,) = invert.parts((row, ""))
    assert json.loads(reply)["status"] == 422


def test_picture_is_not_taken_by_a_model_that_generates(animals: Worker) -> None:
    (reply,) = animals.parts(({"image": png()}, ""))
    assert "does not translate" in json.loads(reply)["detail"]


def test_damaged_archive_does_not_load(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "animals" / "1", tmp_path / "bundle")
    (tmp_path / "bundle" / "generator.pt").write_bytes(b"another")
    with pytest.raises(ChecksumMismatch, match=r"generator\.pt"):
        Handler().initialize(FakeContext(tmp_path))


def test_picture_that_cannot_be_encoded_fails_alone(
    animals: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pictures: Pixels, facts: Facts) -> Rendered:
        if facts.form.image == "webp":
            raise ValueError("a codec's own")
        return render(pictures, facts)

    monkeypatch.setattr("ganymede_handler.render", fail)
    animals({"seed": 1}, {"seed": 1, "format": "webp"}, {"seed": 1})
    assert [animals.context.statuses[place][0] for place in range(3)] == [200, 500, 200]


def test_archives_hold_what_is_answered() -> None:
    assert ganymede_graphs.ANSWERED == to_torchserve.ANSWERED


def test_what_is_done_is_counted(animals: Worker) -> None:
    animals({"num_images": 3}, {"seed": -1}, {"num_images": 2})
    counters = animals.context.counters
    prefix, name = "ganymede_torchserve", ("animals",)
    assert counters[f"{prefix}_batches_total"].counted == {name: 1}
    assert counters[f"{prefix}_images_total"].counted == {name: 5}
    assert counters[f"{prefix}_refusals_total"].counted == {("animals", "InvalidInput"): 1}
    assert counters[f"{prefix}_run_seconds_total"].counted[name] > 0


def test_metrics_file_lists_what_is_counted() -> None:
    found = yaml.safe_load((FILES / "metrics.yaml").read_text("utf-8"))["model_metrics"]["counter"]
    assert {each["name"]: tuple(each["dimensions"]) for each in found} == COUNTERS


def test_limits_are_those_of_the_service() -> None:
    told = yaml.safe_load((FILES / "model-config.yaml").read_text("utf-8"))["handler"]
    defaults = {each.name: each.default for each in fields(Limits)}
    assert told.items() <= defaults.items()
    for name in ("max_images", "max_upload_pixels"):
        assert defaults[name] == ServiceConfig.model_fields[name].default
    assert defaults["max_input_bytes"] == ServiceConfig.model_fields["queue_bytes"].default
    settings = (FILES / "config.properties").read_text("utf-8")
    assert f"max_request_size={ServiceConfig.model_fields['max_body_bytes'].default}\n" in settings


def test_requirements_are_those_of_the_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    ours = {(each.name, each.specifier) for each in map(Requirement, project["dependencies"])}
    lines = (FILES / "requirements.txt").read_text("utf-8").splitlines()
    needed = [Requirement(line) for line in lines if not line.startswith("#")]
    assert {(each.name, each.specifier) for each in needed} <= ours
