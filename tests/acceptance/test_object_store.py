"""Models in an object store, for real: S3's and Google's, as emulators speak it; two workers.

They run in an environment with the extra ``remote``, ``moto[server]`` and ``gcp-storage-emulator``,
which do not fit beside what trains: it is made, unless ``GANYMEDE_REMOTE_PYTHON`` names the
interpreter of one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from bench.environments import Environment
from bench.loads import Unavailable
from export.bundle import MANIFEST
from tests.acceptance.asking import eventually, free_port
from tests.service.processes import refused, running
from tests.tiny import ONNX, tiny_bundle

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
PLACE = "production/models"
EMULATORS = ("moto[server]>=5", "gcp-storage-emulator>=2026.7")


@dataclass(frozen=True)
class Kind:
    """How an object store is started and asked; ``{key}`` is an object's."""

    url: str
    command: str
    environment: dict[str, str]
    bucket: tuple[str, str, dict[str, str] | None]
    """Method, path and body of what makes it."""
    upload: tuple[str, str]
    """Method and path."""
    read: str
    """The request, in the store's log, that reads an object."""


S3 = Kind(
    url=f"s3://bucket/{PLACE}",
    command="-m moto.server -H 127.0.0.1 -p {port}",
    environment={
        "AWS_ENDPOINT_URL": "{root}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    },
    bucket=("PUT", "/bucket", None),
    upload=("PUT", "/bucket/{key}"),
    read="GET /bucket/{key} ",
)
GOOGLE = Kind(
    url=f"gs://bucket/{PLACE}",
    command="-m gcp_storage_emulator start -H 127.0.0.1 --port {port} --in-memory",
    environment={"STORAGE_EMULATOR_HOST": "{root}"},
    bucket=("POST", "/storage/v1/b?project=any", {"name": "bucket"}),
    upload=("POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name={key}"),
    read="GET /download/storage/v1/b/bucket/o/{quoted}?",
)


@dataclass
class Store:
    """An object store, and what was asked of it."""

    kind: Kind
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty."""
        command = [sys.executable, *self.kind.command.format(port=self.port).split()]
        with (self.folder / "store.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        method, path, body = self.kind.bucket

        def absent() -> list[str]:
            try:
                httpx.request(method, self.root + path, json=body).raise_for_status()
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
        method, path = self.kind.upload
        url = self.root + path.format(key=f"{PLACE}/{key}")
        httpx.request(method, url, content=content).raise_for_status()

    def upload(self, version: int, *, spoilt: bool = False) -> None:
        """Upload a bundle, its manifest last."""
        bundle = tiny_bundle(self.folder, version=version, salt=version)
        graph = (bundle.path / ONNX).read_bytes()
        self.put(f"tiny/{version}/{ONNX}", graph[:-1] if spoilt else graph)
        self.put(f"tiny/{version}/{MANIFEST}", (bundle.path / MANIFEST).read_bytes())

    def reads(self, version: int) -> int:
        """How often the graph of a version was read."""
        key = f"{PLACE}/tiny/{version}/{ONNX}"
        read = self.kind.read.format(key=key, quoted=quote(key, safe=""))
        return (self.folder / "store.log").read_text().count(read)


@pytest.fixture(scope="module")
def python() -> str:
    """Return the interpreter of an environment with the extra and the store, made if need be."""
    if named := os.environ.get("GANYMEDE_REMOTE_PYTHON"):
        return named
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = project["optional-dependencies"]["remote"]
    try:
        made = Environment("remote", (*project["dependencies"], *extra, *EMULATORS))
        return str(made.prepare() / "python")
    except Unavailable as error:
        pytest.skip(f"the extra remote cannot be installed: {error}")


@pytest.fixture(autouse=True)
def started_with(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is started here is started in that environment."""
    monkeypatch.setattr(sys, "executable", python)


@pytest.fixture(params=[S3, GOOGLE], ids=["s3", "gs"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    made = Store(request.param, free_port(), tmp_path)
    for name, value in made.kind.environment.items():
        monkeypatch.setenv(name, value.format(root=made.root))
    made.start()
    yield made
    made.stop()


@contextmanager
def service(store: Store) -> Iterator[httpx.Client]:
    settings = {"WORKERS": "2", "WATCH_S": "0.2", "REMOTE_WATCH_S": "0.5", "PROVIDER": "cpu"}
    settings["REMOTE_CACHE"] = str(store.folder / "cache")
    log = store.folder / "service.log"
    with (
        running(log, "--models", store.kind.url, **settings) as (process, url),
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


def test_models_of_an_object_store_serve_and_outlive_it(store: Store) -> None:
    store.upload(1)
    with service(store) as client:
        assert serves(client, 1) == []
        picture = client.post("/generate", json={"model": "tiny", "seed": 7}).json()["images"]
        store.upload(2)
        eventually(lambda: serves(client, 1, 2))
        store.upload(3, spoilt=True)
        eventually(lambda: [] if failures(client) == [1.0] else ["the spoilt one is not told"])
        assert serves(client, 1, 2) == []
        store.stop()
        log = store.folder / "service.log"
        eventually(lambda: [] if "cannot be listed" in log.read_text() else ["nothing is said"])
        assert serves(client, 1, 2) == []
    assert (store.reads(1), store.reads(2)) == (1, 1)  # one for both workers
    with service(store) as client:  # started anew while the store is away
        assert serves(client, 1, 2) == []
        again = {"model": "tiny", "version": 1, "seed": 7}
        assert client.post("/generate", json=again).json()["images"] == picture
        store.start()
        store.upload(4)
        eventually(lambda: serves(client, 4))


def test_a_store_that_refuses_at_the_start_is_told(store: Store) -> None:
    url = store.kind.url
    said = refused("--models", url, WORKERS="1", REMOTE_CACHE=str(store.folder / "cache"))
    assert f"{url}: there is nothing at this URL" in said
