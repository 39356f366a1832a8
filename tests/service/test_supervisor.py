"""When the supervisor starts another worker, and when it gives up: with workers that are acted."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service import supervisor
from service.config import InvalidSetting, ServiceConfig, StartupError, StateUnreadable
from service.desired import Desired, UnloadChange
from service.errors import NotReady
from service.messages import Answer, Told
from service.process import Assignment
from service.supervisor import Supervisor, supervise

pytestmark = pytest.mark.anyio

Act = Callable[[int, "Actor"], Awaitable[int]]  # turn, actor -> exit status


class Actor:
    """A worker that does what a test tells it, as ``WorkerProcess`` and its parts."""

    process_id = 1

    def __init__(self, act: Act, turn: int) -> None:
        self._act, self._turn = act, turn
        self.giver = self.messages = self
        self.follows, self.listens, self.served, self.ready = False, False, False, False
        self.taking, self.open_connections, self.silent_looks = True, 0, 0
        self.failure: str | None = None
        self.finished, self.killed = asyncio.Event(), asyncio.Event()

    async def listen(self, told: Told, answer: Answer) -> None:
        self.tell, self.question = told, answer
        self._status = await self._act(self._turn, self)

    async def end(self) -> int:
        return self._status

    async def ask(self, name: str, value: object = None) -> object:
        raise ConnectionResetError

    def finish(self) -> None:
        self.finished.set()

    def kill(self) -> None:
        self.killed.set()


class Stage:
    """A supervisor with one slot, and all that were started in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
        self.assignments: list[Assignment] = []
        self.actors: list[Actor] = []
        self._act = act
        monkeypatch.setattr(supervisor, "start_worker", self._start)
        monkeypatch.setattr(supervisor, "_BACK_OFF_S", 0.0)
        self._folder = folder

    async def run(self) -> int:
        assignment = Assignment(0, 1, str(self._folder), replaces=False, settings={})
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = ServiceConfig(state_file=self._folder / "state.json")
            self.supervisor = Supervisor(config, listener, [assignment])
            return await self.supervisor.run()

    def takers(self) -> list[object]:
        return list(self.supervisor._takers())

    def followers(self) -> list[object]:
        return list(self.supervisor._followers())

    def look(self, times: int) -> None:
        for _ in range(times):
            self.supervisor._look()

    async def _start(self, assignment: Assignment, *_: object) -> Actor:
        self.assignments.append(assignment)
        self.actors.append(Actor(self._act, len(self.actors)))
        return self.actors[-1]


async def test_what_a_worker_says_of_its_failure_ends_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        actor.tell("fails", "no model serves")
        return 2

    stage = Stage(tmp_path, monkeypatch, act)
    with pytest.raises(StartupError, match="no model serves"):
        await stage.run()
    assert len(stage.actors) == 1


async def test_an_error_that_nobody_expected_ends_the_service_with_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        return 3

    assert await Stage(tmp_path, monkeypatch, act).run() == 3


async def test_workers_that_are_killed_before_they_serve_end_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        return -9

    stage = Stage(tmp_path, monkeypatch, act)
    with pytest.raises(StartupError, match="was ended by SIGKILL before it served"):
        await stage.run()
    assert len(stage.actors) == 3


async def test_a_worker_that_served_is_always_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0.pid").touch()
    (tmp_path / "gauge_livesum_0.db").touch()
    (tmp_path / "counter_0.db").touch()

    async def act(turn: int, actor: Actor) -> int:
        actor.tell("listens", None)
        actor.tell("serves", ["tiny/1"])
        if turn == 5:
            left = {path.name for path in tmp_path.iterdir()}
            assert left == {"counter_0.db"}
            stage.supervisor._stop()
            await actor.finished.wait()
            return 0
        return -9

    stage = Stage(tmp_path, monkeypatch, act)
    await stage.run()
    assert [each.replaces for each in stage.assignments] == [False, True, True, True, True, True]
    assert capsys.readouterr().out.count(" serves tiny/1 on http://127.0.0.1:") == 1


async def test_a_replacement_waits_the_longer_the_oftener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        actor.tell("serves", ["tiny/1"])
        if turn == 9:
            stage.supervisor._stop()
        return 1

    stage = Stage(tmp_path, monkeypatch, act)
    monkeypatch.setattr(supervisor, "_BACK_OFF_S", 1e-6)
    monkeypatch.setattr(supervisor, "_LONGEST_BACK_OFF_S", 4e-6)
    with caplog.at_level(logging.WARNING):
        await stage.run()
    waits = [record.message.split(" in ")[1] for record in caplog.records]
    assert waits[:4] == ["1e-06 s", "2e-06 s", "4e-06 s", "4e-06 s"]


async def test_a_system_without_room_for_a_process_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        actor.tell("serves", ["tiny/1"])
        if actor is stage.actors[-1] and refused:
            stage.supervisor._stop()
        return -9

    stage = Stage(tmp_path, monkeypatch, act)
    refused: list[Assignment] = []

    async def refuse_the_second(assignment: Assignment, *others: Any) -> Any:  # noqa: ANN401
        if len(stage.actors) == 1 and not refused:
            refused.append(assignment)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await stage._start(assignment, *others)

    monkeypatch.setattr(supervisor, "start_worker", refuse_the_second)
    with caplog.at_level(logging.WARNING):
        await stage.run()
    assert len(stage.actors) == 2
    assert any("could not be started" in record.message for record in caplog.records)


async def test_workers_that_do_not_end_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        stage.supervisor._drain_s = 0.0
        stage.supervisor._stop()
        await actor.killed.wait()
        return -9

    monkeypatch.setattr(supervisor, "GRACE_S", 0.0)
    stage = Stage(tmp_path, monkeypatch, act)
    await stage.run()
    assert stage.actors[0].finished.is_set()


def test_a_folder_for_the_metrics_that_cannot_be_made_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(supervisor, "TemporaryDirectory", fail)
    with socket.socket() as listener, pytest.raises(InvalidSetting, match="set TMPDIR"):
        supervise(ServiceConfig(), {}, listener, 2)


async def test_connections_go_to_workers_that_are_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def takers() -> list[object]:
        return list(stage.supervisor._takers())

    async def act(turn: int, actor: Actor) -> int:
        assert takers() == []
        actor.tell("listens", None)
        assert takers() == [actor]  # it can say what it waits for
        stage.supervisor._workers[1] = another  # type: ignore[assignment]
        another.listens = another.ready = True
        assert takers() == [another]
        actor.tell("serves", ["tiny/1"])
        assert takers() == [actor, another]
        actor.tell("ready", False)
        assert takers() == [another]
        another.ready = False
        assert takers() == [actor, another]
        stage.supervisor._stop()
        return 0

    another = Actor(act, 0)
    stage = Stage(tmp_path, monkeypatch, act)
    await stage.run()


async def test_a_worker_follows_from_when_it_is_told_what_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        assert stage.supervisor._followers() == []
        assert Desired.model_validate_json(await actor.question("desired", None)) == Desired()
        followers: list[object] = list(stage.supervisor._followers())
        assert followers == [actor]
        with pytest.raises(NotReady):  # as this one does not answer
            await actor.question("change", UnloadChange(name="tiny").model_dump_json())
        stage.supervisor._stop()
        return 0

    stage = Stage(tmp_path, monkeypatch, act)
    await stage.run()


async def test_a_silent_worker_gets_nothing_until_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        stage.look(supervisor._HUNG_LOOKS)
        assert not actor.silent_looks  # it starts, which may take long
        actor.tell("listens", None)
        actor.tell("serves", ["tiny/1"])
        stage.look(supervisor._SILENT_LOOKS - 1)
        assert stage.takers() == [actor]
        stage.look(1)
        assert stage.takers() == []
        assert not stage.supervisor._gate._watching  # who comes waits in the kernel
        actor.tell("lives", None)
        assert stage.takers() == [actor]
        assert stage.supervisor._gate._watching
        stage.look(supervisor._HUNG_LOOKS - 1)
        assert not actor.killed.is_set()
        stage.supervisor._stop()
        return 0

    stage = Stage(tmp_path, monkeypatch, act)
    await stage.run()


async def test_a_worker_that_stays_silent_is_killed_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        actor.tell("serves", ["tiny/1"])
        await actor.question("desired", None)
        if turn == 1:
            stage.supervisor._stop()
            return 0
        await actor.killed.wait()
        assert actor.silent_looks == supervisor._HUNG_LOOKS
        return -9

    monkeypatch.setattr(supervisor, "_LOOK_S", 0.0)
    stage = Stage(tmp_path, monkeypatch, act)
    await stage.run()
    assert len(stage.actors) == 2


async def test_a_change_does_not_wait_for_a_silent_worker_which_must_not_go_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        await actor.question("desired", None)
        stage.supervisor._workers[1] = another  # type: ignore[assignment]
        another.follows = True
        assert stage.followers() == [actor, another]
        another.silent_looks = supervisor._SILENT_LOOKS
        assert stage.followers() == [actor]
        assert another.killed.is_set()
        assert not actor.killed.is_set()
        stage.supervisor._stop()
        return 0

    another = Actor(act, 0)
    stage = Stage(tmp_path, monkeypatch, act)
    await stage.run()


async def test_a_damaged_state_file_ends_the_service_before_any_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: int, actor: Actor) -> int:
        return 0

    (tmp_path / "state.json").write_text("{")
    stage = Stage(tmp_path, monkeypatch, act)
    with pytest.raises(StateUnreadable):
        await stage.run()
    assert stage.actors == []
