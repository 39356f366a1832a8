"""``ganymede serve`` as a real process: it says where it serves, and stops without losses."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from export.bundle import MANIFEST
from service.config import ServiceConfig
from tests.service.processes import (
    PATIENCE_S,
    ROOT,
    announcing,
    command,
    environment,
    lines,
    refused,
    running,
)
from tests.tiny import tiny_bundle

CLIENTS = 24
REPLIES_BEFORE_STOP = 60


class Load:
    """Clients that ask again and again until the service is gone."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.received: dict[str, httpx.Response] = {}
        self.enough = asyncio.Event()

    async def client(self, number: int) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=PATIENCE_S) as http:
            for turn in range(10_000):
                request_id = f"{number}-{turn}"
                headers = {"X-Request-Id": request_id, "Accept": "application/x-npy"}
                wish = {"seed": number, "num_images": 16}
                try:
                    reply = await http.post("/generate", json=wish, headers=headers)
                except httpx.TransportError:
                    return
                self.received[request_id] = reply
                if len(self.received) >= REPLIES_BEFORE_STOP:
                    self.enough.set()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_under_load_loses_nothing_that_was_accepted(tmp_path: Path, workers: str) -> None:
    tiny_bundle(tmp_path / "models", size=64, convolution=True)
    log = tmp_path / "log"

    async def stop_under_load(process: subprocess.Popen[str], url: str) -> tuple[Load, int]:
        load = Load(url)
        clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
        await load.enough.wait()
        process.send_signal(signal.SIGTERM)
        before = len(load.received)
        await asyncio.gather(*clients)
        return load, before

    with running(log, "--models", tmp_path / "models", "--workers", workers) as (process, url):
        load, before = asyncio.run(stop_under_load(process, url))
        assert process.wait(PATIENCE_S) == 0
    accepted = {line["request_id"]: line for line in lines(log) if line.get("path") == "/generate"}
    assert {line["status"] for line in accepted.values()} == {200}
    assert accepted.keys() == load.received.keys()
    assert len(load.received) > before  # some were under way, and came
    by_client: dict[str, bytes] = {}
    for request_id, reply in load.received.items():
        assert reply.status_code == 200
        same = by_client.setdefault(request_id.partition("-")[0], reply.content)
        assert reply.content == same
    assert len(by_client) == CLIENTS


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_and_stops_on_ctrl_c(tmp_path: Path, workers: str) -> None:
    tiny_bundle(tmp_path / "models")
    with running(tmp_path / "log", "--models", tmp_path / "models", "--workers", workers) as (
        process,
        url,
    ):
        assert httpx.get(f"{url}/health/ready").json() == {"status": "ready"}
        reply = httpx.get(f"{url}/generate/tiny.png?seed=7")
        assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
        assert "server" not in reply.headers
        big = httpx.post(f"{url}/generate", content=b" " * 2**25)
        assert (big.status_code, big.headers["connection"]) == (413, "close")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("--models", tmp_path, "--port", str(port))
    assert said.count(f"127.0.0.1:{port}") == 1
    assert f"({os.strerror(errno.EADDRINUSE)})" in said
    assert "--port" in said


def test_a_host_that_is_none_is_told(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    said = refused("--models", tmp_path, "--host", "no host")
    assert "cannot listen on no host:0" in said
    assert "Success" not in said
    assert "Unknown error" not in said


def test_the_help_lists_every_setting() -> None:
    done = subprocess.run(
        command("--help"), cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    for name in ServiceConfig.model_fields:
        assert f"GANYMEDE_{name.upper()} " in done.stdout


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_body_that_does_not_come_does_not_hold_up_the_stop(tmp_path: Path, workers: str) -> None:
    tiny_bundle(tmp_path / "models")
    log = tmp_path / "log"
    with running(log, "--models", tmp_path / "models", "--workers", workers) as (process, url):
        with announcing(url) as connection:
            process.send_signal(signal.SIGTERM)
            reply = connection.recv(65536)
        assert reply.startswith(b"HTTP/1.1 408 ")  # not the 503 of a drain that was used up
        assert b"connection: close" in reply.lower()
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_folders_in_which_nothing_serves_are_told_with_the_reason(
    tmp_path: Path, workers: str
) -> None:
    bundle = tiny_bundle(tmp_path)
    (bundle.path / MANIFEST).write_text("{}")
    said = refused("--models", tmp_path, "--workers", workers)
    assert str(tmp_path) in said
    assert MANIFEST in said


def test_keys_that_are_asked_for_and_not_there_are_told(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    said = refused("--models", tmp_path, KEYS_FILE=str(tmp_path / "keys.json"))
    assert "ganymede keys create NAME" in said


def test_a_bad_setting_is_told() -> None:
    assert "GANYMEDE_MAX_IMAGES" in refused(MAX_IMAGES="many")
