"""The wheel is whole: the service runs from it, outside the checkout, without torch."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from export.bundle import fingerprint, write_manifest
from tests.tiny import tiny_bundle

ROOT = Path(__file__).resolve().parents[1]
ABSENT = ("torch", "onnx", "onnxscript", "lightning_fabric", "matplotlib", "sklearn", "safetensors")


def pip(*arguments: str | Path) -> None:
    """Run pip in the present environment, without an index: nothing is downloaded."""
    command = [sys.executable, "-m", "pip", *arguments, "--no-deps", "--quiet", "--no-index"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which the wheel of this checkout was installed."""
    starter = list((ROOT / "deploy" / "starter").glob("*/*/manifest.json"))
    assert starter, "deploy/starter holds no bundle: run `make starter`"
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("ganymede-*.whl")
    pip("install", "--target", folder / "installed", wheel)
    return folder / "installed"


@pytest.fixture(scope="module")
def environment(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which the wheel comes first, and what it must not need is absent."""
    absent = tmp_path_factory.mktemp("absent")
    for name in ABSENT:
        (absent / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GANYMEDE_")}
    return kept | {"PYTHONPATH": os.pathsep.join([str(absent), str(installed)])}


def output(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    """Run Python in a folder, and return what it printed."""
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_packages_come_from_the_wheel(
    installed: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    program = "import ganymede, ganymede_ray, service, export, training; print(service.__file__)"
    assert output(environment, tmp_path, "-c", program).startswith(str(installed))


def test_command_line_works_from_the_wheel(environment: dict[str, str], tmp_path: Path) -> None:
    assert "serve" in output(environment, tmp_path, "-m", "ganymede", "--help")


def test_archives_for_torchserve_are_packed_from_the_wheel(
    installed: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    bundle = tiny_bundle(tmp_path)
    (bundle.path / "generate.pt").write_bytes(b"not looked into")
    manifest = bundle.manifest
    graph = manifest.graph("generate").model_copy(update={"torchscript": "generate.pt"})
    files = {**manifest.files, "generate.pt": fingerprint(bundle.path / "generate.pt")}
    changes = {"graphs": {"generate": graph}, "files": files}
    write_manifest(bundle.path, manifest.model_copy(update=changes))
    program = """
import sys
from pathlib import Path
from export.bundle import load_bundle
from export.to_torchserve import handler_folder, to_torchserve
print(handler_folder(), to_torchserve(load_bundle(Path(sys.argv[1])), Path.cwd()))
"""
    told = output(environment, tmp_path, "-c", program, str(bundle.path))
    assert told.split() == [str(installed / "export/torchserve"), str(tmp_path / "tiny-1.mar")]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    """Ask until the service is ready, or its process ends."""
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health/ready").status_code == 200:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
            return  # what it wrote is in the assertion that follows
    pytest.fail("not ready after a minute")


@pytest.fixture
def service(environment: dict[str, str], tmp_path: Path) -> Iterator[httpx.Client]:
    """Start the service of the wheel in an empty folder, with the starter that it brings."""
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "ganymede", "serve", "--port", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_ready(client, process)
            assert process.poll() is None, log.read_text()
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_service_of_the_wheel_answers_without_torch(service: httpx.Client) -> None:
    reply = service.post("/generate", json={"seed": 7, "num_images": 3})
    assert reply.status_code == 200, reply.text
    images = reply.json()["images"]
    assert [image["seed"] for image in images] == [7, 8, 9]
    picture = service.get("/generate/fashion.png", params={"seed": 7})
    assert picture.content.startswith(b"\x89PNG\r\n")
