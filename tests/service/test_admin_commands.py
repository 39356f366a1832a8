"""``ganymede admin`` against a real server, and against what is none."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import httpx
import pytest

import ganymede
from service.config import ServiceConfig
from service.listening import listen
from service.server import Server
from tests.tiny import ONNX, tiny_bundle

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The exit status of ``ganymede admin`` with these arguments, and what it printed."""
    monkeypatch.delenv("GANYMEDE_KEY", raising=False)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ganymede", "admin", *arguments])
        try:
            ganymede.main()
        except SystemExit as done:
            captured = capsys.readouterr()
            return int(done.code or 0), captured.out + captured.err
        return 0, capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server with three versions of cats, one of them broken."""
    folder: Path = tmp_path_factory.mktemp("models")
    for version in (1, 2, 3):
        tiny_bundle(folder, name="cats", version=version, salt=version)
    (folder / "cats" / "3" / ONNX).write_bytes(b"torn")
    config = ServiceConfig(models=(folder,), watch_s=0, port=0, root_path="/below", lanes=1)
    with listen(config.host, config.port) as listener:
        server = Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/below"
        while httpx.get(f"{url}/health/ready").status_code != 200:
            pass  # the models are being measured
        yield url
        server.should_exit = True
        thread.join()


def test_every_command_does_what_it_says(run: Run, url: str) -> None:
    status, told = run("models", "--url", url)
    first, second, third = told.splitlines()
    assert (status, first, second) == (0, "cats/1  serving", "cats/2  serving default")
    assert third.startswith("cats/3  failed  ")
    assert run("default", "cats", "1", "--url", url)[1].startswith("cats/1  serving default\n")
    assert "cats/2  serving default" in run("rollback", "cats", "--url", url)[1]
    assert (
        "cats/2  unloaded"
        in run("default", "cats", "newest", "--url", url)[1]
        + (run("unload", "cats", "2", "--url", url)[1])
    )
    assert "cats/2  serving default" in run("load", "cats", "2", "--url", f"{url}/")[1]
    assert "cats/1  serving" in run("reload", "cats", "1", "--url", url)[1]


def test_a_refusal_is_one_line_and_status_2(run: Run, url: str) -> None:
    status, told = run("reload", "cats", "3", "--url", url)
    assert status == 2
    assert told.startswith("ganymede: reload failed, and what served before goes on; cats/3: ")
    assert told.count("\n") == 1
    assert run("default", "cats", "two", "--url", url)[1].startswith(
        "ganymede: 'two' is no version"
    )
    assert "did you mean 'cats'?" in run("load", "cat", "--url", url)[1]
    assert "there is no page" in run("load", "../cats", "--url", url)[1]


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://here", "http://[", "http://here:port"])
def test_what_is_no_address_is_told(run: Run, url: str) -> None:
    assert run("models", "--url", url) == (
        2,
        f"ganymede: {url!r} is no address: say --url http://HOST:PORT\n",
    )


def test_nobody_there_is_told(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status, told = run("models", "--url", f"http://127.0.0.1:{port}")
    assert status == 2
    assert told.startswith(f"ganymede: no service answers at http://127.0.0.1:{port} (")


class Other(BaseHTTPRequestHandler):
    """What answers, and is not Ganymede, or wants a key."""

    status, body = 200, b"<html>"
    seen: ClassVar[list[str | None]]
    url: ClassVar[str]

    def do_GET(self) -> None:
        self.seen.append(self.headers["Authorization"])
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def other() -> Iterator[type[Other]]:
    class Handler(Other):
        """With a memory of its own."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Handler.seen, Handler.url = [], f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (500, b"[]"), (404, b"{}")])
def test_somebody_else_there_is_told(
    run: Run, other: type[Other], status: int, body: bytes
) -> None:
    other.status, other.body = status, body
    code, told = run("models", "--url", other.url)
    assert code == 2
    assert told == (
        f"ganymede: what answers at {other.url} is not Ganymede (status {status}): say --url\n"
    )


def test_the_key_is_sent_and_never_shown(
    run: Run, other: type[Other], monkeypatch: pytest.MonkeyPatch
) -> None:
    other.status, other.body = 401, b'{"detail": "this asks for an API key"}'
    url = other.url
    told = [run("models", "--url", url, "--key", "secret-one")]
    monkeypatch.setenv("GANYMEDE_KEY", "secret-two")
    told += [run("models", "--url", url), run("models", "--help")]
    assert other.seen == ["Bearer secret-one", "Bearer secret-two"]
    assert told[0] == (
        2,
        "ganymede: this asks for an API key (here: --key, or GANYMEDE_KEY)\n",
    )
    assert "secret" not in "".join(text for _, text in told)
