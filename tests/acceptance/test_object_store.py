"""Models in an object store, for real: S3 as moto's server speaks it, two workers, one cache.

Needs the extra ``remote`` and ``moto[server]`` in the environment that runs this.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from export.bundle import MANIFEST
from tests.acceptance.asking import eventually, free_port
from tests.service.processes import refused, running
from tests.tiny import ONNX, tiny_bundle

pytest.importorskip("s3fs", reason="the extra remote is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")

pytestmark = pytest.mark.acceptance

URL = "s3://bucket/production/models"


@dataclass
class Store:
    """An object store, and what was asked of it."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "store.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

        def absent() -> list[str]:
            try:
                httpx.put(f"http://127.0.0.1:{self.port}/bucket").raise_for_status()
            except httpx.HTTPError as error:
                return [str(error)]
            return []

        eventually(absent)

    def stop(self) -> None:
        """Let nobody reach it any more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def put(self, key: str, content: bytes) -> None:
        """Upload an object."""
        url = f"http://127.0.0.1:{self.port}/bucket/production/models/{key}"
        httpx.put(url, content=content).raise_for_status()

    def upload(self, version: int, *, spoilt: bool = False) -> None:
        """Upload a bundle, its manifest last."""
        bundle = tiny_bundle(self.folder, version=version, salt=version)
        graph = (bundle.path / ONNX).read_bytes()
        self.put(f"tiny/{version}/{ONNX}", graph[:-1] if spoilt else graph)
        self.put(f"tiny/{version}/{MANIFEST}", (bundle.path / MANIFEST).read_bytes())

    def reads(self, version: int) -> int:
        """How often the graph of a version was read."""
        log = (self.folder / "store.log").read_text()
        return len(re.findall(rf"GET /bucket/production/models/tiny/{version}/{ONNX} ", log))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store(free_port(), tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made.start()
    yield made
    made.stop()


@contextmanager
def service(folder: Path) -> Iterator[httpx.Client]:
    settings = {"WORKERS": "2", "WATCH_S": "0.2", "REMOTE_WATCH_S": "0.5", "PROVIDER": "cpu"}
    settings["REMOTE_CACHE"] = str(folder / "cache")
    with (
        running(folder / "service.log", "--models", URL, **settings) as (process, url),
        httpx.Client(base_url=url) as client,
    ):
        yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def serves(client: httpx.Client, *versions: int) -> list[str]:
    """Why it is not so that each worker serves exactly these versions."""
    wrong = []
    for _ in range(4):  # a connection each: they go to both
        reply = httpx.get(f"{client.base_url}/models")
        found = [model["versions"] for model in reply.json()["models"] if model["name"] == "tiny"]
        if found != [list(versions)]:
            wrong.append(f"{found}")
    reply = client.post("/generate", json={"model": "tiny", "seed": 7})
    return wrong if reply.status_code == 200 else [*wrong, reply.text]


def failures(client: httpx.Client) -> list[float]:
    found = re.findall(r"^ganymede_model_failures\S* (\S+)", client.get("/metrics").text, re.M)
    return [float(value) for value in found]


def test_models_of_an_object_store_serve_and_outlive_it(store: Store, tmp_path: Path) -> None:
    store.upload(1)
    with service(tmp_path) as client:
        assert serves(client, 1) == []
        picture = client.post("/generate", json={"model": "tiny", "seed": 7}).json()["images"]
        store.upload(2)
        eventually(lambda: serves(client, 1, 2))
        store.upload(3, spoilt=True)
        eventually(lambda: [] if failures(client) == [1.0] else ["the spoilt one is not told"])
        assert serves(client, 1, 2) == []
        store.stop()
        log = tmp_path / "service.log"
        eventually(lambda: [] if "cannot be listed" in log.read_text() else ["nothing is said"])
        assert serves(client, 1, 2) == []
    assert (store.reads(1), store.reads(2)) == (1, 1)  # one for both workers
    with service(tmp_path) as client:  # started anew while the store is away
        assert serves(client, 1, 2) == []
        again = {"model": "tiny", "version": 1, "seed": 7}
        assert client.post("/generate", json=again).json()["images"] == picture
        store.start()
        store.upload(4)
        eventually(lambda: serves(client, 4))


def test_a_store_that_refuses_at_the_start_is_told(store: Store, tmp_path: Path) -> None:
    del store
    said = refused("--models", URL, WORKERS="1", REMOTE_CACHE=str(tmp_path / "cache"))
    assert f"{URL}: there is nothing at this URL" in said
