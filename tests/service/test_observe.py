"""Requests that end in one step of the event loop are told of together, after their replies."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import TextIO, cast

import pytest

from service.logs import PIECE_BYTES, Gathering, JsonLines, Line
from service.metrics import Metrics
from service.middleware import Message, Receive, Scope, Send
from service.observe import Observe, access
from tests.service.held import settle

pytestmark = pytest.mark.anyio


class Stream:
    """Where the log is written to: each write by itself."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def write(self, text: str) -> None:
        self.writes.append(text)

    def flush(self) -> None: ...


@pytest.fixture
def log() -> Iterator[Stream]:
    """What the service writes of its requests."""
    handler, level = Gathering(cast(TextIO, stream := Stream())), access.level
    handler.setFormatter(JsonLines())
    logging.getLogger().addHandler(handler)
    access.setLevel(logging.INFO)
    yield stream
    logging.getLogger().removeHandler(handler)
    access.setLevel(level)


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """An application: 200, in the step of the loop in which it is asked."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"picture"})


async def ask(observed: Observe, name: str, happened: list[str]) -> None:
    """One request, whose id is its name."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        if "body" in message:
            happened.append(f"{name} answered")

    headers = [(b"x-request-id", name.encode(errors="replace"))]
    scope = {"type": "http", "method": "GET", "path": f"/{name}", "headers": headers}
    await observed(scope, receive, send)


def total(metrics: Metrics) -> float:
    labels = {"route": "unknown", "model": "", "status": "200"}
    return metrics.registry.get_sample_value("ganymede_requests_total", labels) or 0


async def test_requests_that_end_in_one_step_are_lines_of_one_write(log: Stream) -> None:
    metrics = Metrics()
    observed = Observe(answer, metrics)
    await asyncio.gather(*(ask(observed, name, []) for name in ("one", "two")))
    await settle()
    [written] = log.writes
    assert written.endswith("\n")
    first, second = map(json.loads, written.splitlines())
    assert [line["request_id"] for line in (first, second)] == ["one", "two"]
    assert [line["path"] for line in (first, second)] == ["/one", "/two"]
    for line in (first, second):
        assert (line["level"], line["logger"]) == ("info", "service.access")
        assert (line["message"], line["status"]) == ("request", 200)
        assert line["sent_bytes"] == len(b"picture")
    assert total(metrics) == 2


async def test_replies_leave_before_they_are_told_of(log: Stream) -> None:
    happened: list[str] = []
    metrics = Metrics()
    observed = Observe(answer, metrics)
    requests = [asyncio.create_task(ask(observed, name, happened)) for name in ("one", "two")]
    await asyncio.sleep(0)
    assert happened == ["one answered", "two answered"]
    await asyncio.sleep(0)  # what was written by then has left (service/writing.py)
    assert (log.writes, total(metrics)) == ([], 0)
    await asyncio.gather(*requests)
    await settle()
    assert (len(log.writes), total(metrics)) == (1, 2)


async def test_requests_of_later_steps_are_told_of_then(log: Stream) -> None:
    metrics = Metrics()
    observed = Observe(answer, metrics)
    for count in (1, 2, 3):
        await ask(observed, f"request-{count}", [])
        await settle()
        assert (len(log.writes), total(metrics)) == (count, count)


async def test_a_log_that_nobody_reads_is_not_written(log: Stream) -> None:
    access.setLevel(logging.WARNING)
    metrics = Metrics()
    await ask(Observe(answer, metrics), "one", [])
    await settle()
    assert (log.writes, total(metrics)) == ([], 1)


async def test_lines_leave_whole_in_pieces_that_a_pipe_does_not_mix(log: Stream) -> None:
    names = [f"request-{k}-{'é' * k}" for k in range(64)]
    for name in names:
        access.handle(Line(access.name, "request", {"request_id": name}))
    logging.getLogger("elsewhere").warning("something else")
    assert all(text.endswith("\n") for text in log.writes)
    assert all(len(text.encode()) <= PIECE_BYTES for text in log.writes)
    assert len(log.writes) < len(names) / 4
    lines = [json.loads(line) for text in log.writes for line in text.splitlines()]
    assert [line["request_id"] for line in lines[:-1]] == names
    assert lines[-1]["message"] == "something else"  # what was kept before it stands before it


async def test_a_line_that_cannot_be_written_loses_no_other(
    log: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    observed = Observe(answer, metrics := Metrics())
    await asyncio.gather(*(ask(observed, name, []) for name in ("one", "\ud800", "two")))
    await settle()
    told = [json.loads(line)["path"] for line in "".join(log.writes).splitlines()]
    assert (told, total(metrics)) == (["/one", "/two"], 3)
    assert "Logging error" in capsys.readouterr().err


async def test_what_cannot_be_counted_is_logged_and_later_requests_are_counted(
    log: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    observed = Observe(answer, metrics := Metrics())
    with monkeypatch.context() as broken:
        broken.setattr(metrics, "observe_requests", lambda ended: 1 / 0)
        await ask(observed, "one", [])
        await settle()
    await ask(observed, "two", [])
    await settle()
    assert (len(failures), len(log.writes), total(metrics)) == (1, 2, 1)


async def test_requests_of_a_second_loop_are_told_of_too(log: Stream) -> None:
    observed = Observe(answer, metrics := Metrics())
    first = asyncio.new_event_loop()
    await asyncio.to_thread(first.run_until_complete, ask(observed, "one", []))
    first.close()  # before it told of anything
    await ask(observed, "two", [])
    await settle()
    assert (len("".join(log.writes).splitlines()), total(metrics)) == (2, 2)
