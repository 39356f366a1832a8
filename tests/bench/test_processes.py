"""Servers as processes: how many serve, and that they end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.command import BenchError
from bench.processes import free_port, process, workers


def processes(root: Path, *members: tuple[int, int, str, bytes]) -> Path:
    for pid, session, state, command in members:
        folder = root / str(pid)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} (a b) c) {state} 1 {session} {session} 0 -1\n")
        (folder / "cmdline").write_bytes(command)
    return root


def test_a_process_alone_serves(tmp_path: Path) -> None:
    root = processes(tmp_path, (5, 5, "S", b"serve"), (6, 1, "S", b"another"))
    assert workers(5, root) == 1


def test_a_supervisor_does_not_serve(tmp_path: Path) -> None:
    tracker = b"python\0-c\0from multiprocessing.resource_tracker import main"
    root = processes(
        tmp_path,
        (5, 5, "S", b"serve"),
        (6, 5, "R", b"worker"),
        (7, 5, "S", b"worker"),
        (8, 5, "S", tracker),
        (9, 5, "Z", b""),
    )
    assert workers(5, root) == 2


CHILD = """
import sys, time
with open(sys.argv[1], "w") as said:
    said.write("here")
    said.flush()
    time.sleep(20)
    said.write("alive")
"""
SERVER = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[3], sys.argv[2]])
handler = http.server.SimpleHTTPRequestHandler
http.server.test(handler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


def test_a_server_ends_with_its_children(tmp_path: Path) -> None:
    port, pipe = free_port(), tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", SERVER, str(port), str(pipe), CHILD]
    with process(command, f"http://127.0.0.1:{port}/") as pid:
        heard = pipe.open()
        assert heard.read(4) == "here"
    with heard:
        assert heard.read() == ""  # the end of it, when the child ends
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_ends_says_why() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(BenchError, match="no such model"), process(command, "http://127.0.0.1:1/"):
        pass
