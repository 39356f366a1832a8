"""Changes in several workers: everywhere or nowhere, whoever comes and goes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from service.control import LocalControl
from service.desired import DefaultChange, Desired, Failed, Present, UnloadChange
from service.errors import ChangeRefused, NotReady
from service.fleet import Fleet, FleetControl
from service.messages import Messages
from service.repository import Repository
from service.state import StateFile

pytestmark = pytest.mark.anyio

BOTH = Present(found=frozenset({1, 2}), serving=frozenset({1, 2}))
UNLOAD = UnloadChange(name="tiny", version=1)


class FakeRepository:
    """It says that it did what it was told; ``converge`` may be replaced."""

    def __init__(self, there: Present = BOTH) -> None:
        self.there = there
        self.followed: list[Desired] = []
        self.fails: Callable[[Desired], tuple[Failed, ...]] = lambda desired: ()

    async def start(self, desired: Desired) -> None:
        self.followed.append(desired)

    async def present(self) -> dict[str, Present]:
        return {"tiny": self.there}

    async def converge(self, desired: Desired) -> tuple[Failed, ...]:
        self.followed.append(desired)
        return self.fails(desired)


class Place:
    """A supervisor's control, its workers, and where it keeps what is wanted."""

    def __init__(self, folder: Path) -> None:
        self.file = StateFile(folder / "state.json")
        self.members: list[Any] = []
        self.fleet = Fleet(lambda: cast("list[Messages]", self.members))
        self.control = LocalControl(self.fleet, self.file, timeout_s=60)

    async def ask(self, name: str, value: object = None) -> object:
        """What a worker asks of its supervisor."""
        assert name == "desired"
        return self.fleet.desired.model_dump_json()

    async def join(self, repository: FakeRepository) -> None:
        """Another worker starts."""
        control = FleetControl(cast("Repository", repository), cast("Messages", self))
        await control.start()
        self.members.append(Member(control))


class Member:
    """The way to a worker."""

    def __init__(self, control: FleetControl) -> None:
        self._control = control

    async def ask(self, name: str, value: object = None) -> object:
        return await self._control.answer(name, value)


class Gone:
    """The way to a worker that was killed."""

    async def ask(self, name: str, value: object = None) -> object:
        raise ConnectionResetError


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_change_is_made_in_every_worker_and_kept(place: Place) -> None:
    one, two = FakeRepository(), FakeRepository()
    await place.join(one)
    await place.join(two)
    after = await place.control.change(UNLOAD)
    assert after.unloads("tiny", 1)
    assert one.followed == two.followed == [Desired(), after]
    assert place.file.read() == after


async def test_what_fails_in_one_worker_is_taken_back_in_all(place: Place) -> None:
    one, two = FakeRepository(), FakeRepository()
    await place.join(one)
    await place.join(two)
    change = DefaultChange(name="tiny", version=1)
    two.fails = lambda desired: (Failed(name="tiny", version=1, reason="no room"),)
    with pytest.raises(ChangeRefused, match="tiny/1: no room"):
        await place.control.change(change)
    assert len(one.followed) == 3
    assert one.followed[-1] == two.followed[-1] == place.fleet.desired == Desired()
    assert place.file.read() == Desired()


async def test_what_one_worker_does_not_serve_cannot_be_the_default(place: Place) -> None:
    without = Present(found=BOTH.found, serving=frozenset({2}), failed={1: "damaged"})
    await place.join(FakeRepository())
    await place.join(FakeRepository(without))
    assert await place.fleet.present() == {"tiny": without}
    with pytest.raises(ChangeRefused, match="damaged"):
        await place.control.change(DefaultChange(name="tiny", version=1))


async def test_a_worker_that_is_gone_is_not_waited_for(place: Place) -> None:
    one = FakeRepository()
    await place.join(one)
    place.members.append(Gone())
    after = await place.control.change(UNLOAD)
    assert one.followed[-1] == after


async def test_a_worker_that_starts_during_a_change_starts_with_it(place: Place) -> None:
    one, late = FakeRepository(), FakeRepository()
    await place.join(one)
    joined: list[asyncio.Task[None]] = []

    def start_another(desired: Desired) -> tuple[Failed, ...]:
        joined.append(asyncio.create_task(place.join(late)))
        return ()

    one.fails = start_another
    after = await place.control.change(UNLOAD)
    await asyncio.gather(*joined)
    assert late.followed == [after]


async def test_a_worker_that_is_still_loading_is_waited_for(place: Place) -> None:
    repository = FakeRepository()
    control = FleetControl(cast("Repository", repository), cast("Messages", place))
    place.members.append(Member(control))
    change = asyncio.create_task(place.control.change(UNLOAD))
    while not place.control._changing.locked():
        await asyncio.sleep(0)
    assert repository.followed == []
    await control.start()
    assert repository.followed == [Desired()]
    assert (await change) == repository.followed[-1]


async def test_without_workers_nothing_changes(place: Place) -> None:
    with pytest.raises(NotReady):
        await place.control.change(UNLOAD)
    place.members.append(Gone())
    with pytest.raises(NotReady):
        await place.fleet.converge(Desired())


async def test_a_worker_without_a_supervisor_refuses_changes() -> None:
    control = FleetControl(cast("Repository", FakeRepository()), cast("Messages", Gone()))
    with pytest.raises(NotReady, match="shutting down"):
        await control.change(UNLOAD)
