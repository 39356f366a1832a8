"""Servers as processes: started, waited for, asked once, and ended for certain."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.command import BenchError

START_S, STOP_S, ANSWER_S = 120, 15, 60


@contextlib.contextmanager
def process(
    command: Sequence[str],
    ready: str,
    environment: Mapping[str, str] | None = None,
    log_file: Path | None = None,
) -> Iterator[int]:
    """Run a server until the block ends; it begins when ``ready``, a URL, answers 200.

    It gets a process group of its own, which is ended with it. What it logs goes to a file, as it
    would in earnest; to ``log_file``, where it is wanted afterwards.

    Yields:
        The identifier of the process, and of its group and session.

    Raises:
        BenchError: it ended, or was not ready in time; with the end of its log.
    """
    with log_file.open("w+b") if log_file else tempfile.TemporaryFile() as log:
        running = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            until = time.monotonic() + START_S
            while not _answers(ready):
                if running.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    tail = log.read()[-2000:].decode(errors="replace")
                    raise BenchError(f"`{' '.join(command)}` does not serve:\n{tail}")
                time.sleep(0.05)
            yield running.pid
        finally:
            _end(running)


def _end(running: subprocess.Popen[bytes]) -> None:
    """SIGTERM for the one that was started, then SIGKILL for whoever is left of its group."""
    running.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(url: str, images: int, seed: int | None = None) -> bytes:
    """The body of one answer.

    Raises:
        BenchError: there is none.
    """
    body = {"num_images": images} | ({} if seed is None else {"seed": seed})
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return bytes(answer.read())
    except OSError as error:
        raise BenchError(f"no answer from {url}: {error}") from error


def first_post(url: str, images: int, seed: int) -> bytes:
    """The body of the first answer of a server that says it is ready before its workers are.

    Raises:
        BenchError: it does not come.
    """
    until = time.monotonic() + START_S
    while True:
        try:
            return post(url, images, seed)
        except BenchError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def workers(session: int, root: Path = Path("/proc")) -> int:
    """How many processes of a session serve: all but the first, which supervises if it has others.

    The tracker of Python's shared resources is not counted.
    """
    members = 0
    for stat in root.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = stat.read_text().rpartition(")")[2].split()
            tracker = b"resource_tracker" in (stat.parent / "cmdline").read_bytes()
            members += int(fields[3]) == session and fields[0] != "Z" and not tracker
    return max(1, members - 1)
