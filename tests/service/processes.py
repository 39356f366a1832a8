"""``ganymede serve`` as a real process, for the tests that need one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60


def command(*options: str | Path) -> list[str]:
    return [sys.executable, "-m", "ganymede", "serve", *map(str, options)]


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GANYMEDE_")}
    return kept | {f"GANYMEDE_{name}": value for name, value in settings.items()}


@contextmanager
def running(
    log: Path, *options: str | Path, **settings: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the URL that it printed when its models served."""
    with (
        log.open("w") as stream,
        subprocess.Popen(
            command("--port", "0", *options),
            cwd=ROOT,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert " on http://" in line, log.read_text()
            yield process, line.split(" on ")[1].strip()
        finally:
            process.kill()


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def refused(*options: str | Path, **settings: str) -> str:
    """What a process that cannot start says; its status is 2."""
    done = subprocess.run(
        command("--port", "0", *options),
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ganymede: ")
    assert "Traceback" not in done.stderr
    return said


@contextmanager
def announcing(url: str) -> Iterator[socket.socket]:
    """A connection whose request has a body that is waited for, and never comes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(
            b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        yield connection
