"""Room for large pictures: bounded, in order, and given back by whoever leaves."""

from __future__ import annotations

import asyncio
import random

import pytest

from service.room import NoRoom, Room
from tests.service.held import Clock, settle

pytestmark = pytest.mark.anyio


class Guest:
    """Stays in a room until told."""

    def __init__(self, room: Room, pixels: int, nbytes: int = 1) -> None:
        self.inside = False
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._stay(room, pixels, nbytes))

    async def _stay(self, room: Room, pixels: int, nbytes: int) -> None:
        async with room.taken(pixels, nbytes):
            self.inside = True
            try:
                await self.leave.wait()
            finally:
                self.inside = False


async def guests(room: Room, *pixels: int) -> list[Guest]:
    found = [Guest(room, each) for each in pixels]
    await settle()
    return found


def inside(found: list[Guest]) -> list[bool]:
    return [guest.inside for guest in found]


async def test_only_so_many_pixels_are_in_at_once() -> None:
    room = Room(10, 100)
    found = await guests(room, 4, 6, 1)
    assert inside(found) == [True, True, False]
    assert (room.pixels, room.waiting_bytes) == (10, 1)
    found[0].leave.set()
    await settle()
    assert inside(found) == [False, True, True]


async def test_nobody_overtakes() -> None:
    room = Room(10, 100)
    found = await guests(room, 6, 6, 1)
    assert inside(found) == [True, False, False]  # the small one waits behind the large one
    found[0].leave.set()
    await settle()
    assert inside(found) == [False, True, True]


async def test_a_picture_larger_than_the_room_is_let_in_alone() -> None:
    room = Room(10, 100)
    found = await guests(room, 1, 11, 1)
    assert inside(found) == [True, False, False]
    found[0].leave.set()
    await settle()
    assert inside(found) == [False, True, False]
    found[1].leave.set()
    await settle()
    assert inside(found) == [False, False, True]


async def test_waiting_bytes_are_bounded() -> None:
    room = Room(10, 5)
    first, second, third = Guest(room, 10, 99), Guest(room, 1, 5), Guest(room, 1, 1)
    await settle()
    with pytest.raises(NoRoom, match="1 pictures of 5 bytes"):
        await third.task
    first.leave.set()
    await settle()
    assert second.inside
    assert room.waiting_bytes == 0


async def test_the_time_until_there_is_room_is_predicted() -> None:
    clock = Clock()
    room = Room(10, 100, clock)
    assert room.drain_s == 0
    found = await guests(room, 10, 10, 5)
    clock.now += 4
    found[0].leave.set()
    await settle()
    assert room.drain_s == 4 * (0.5 + 5 / 10)


async def test_who_fails_inside_leaves() -> None:
    room = Room(10, 100)
    with pytest.raises(ZeroDivisionError):
        async with room.taken(10, 1):
            raise ZeroDivisionError
    assert room.pixels == 0


async def test_who_goes_away_makes_room_at_once() -> None:
    room = Room(10, 100)
    found = await guests(room, 6, 9, 4)
    found[1].task.cancel()
    await settle()
    assert inside(found) == [True, False, True]
    assert (room.pixels, room.waiting_bytes) == (10, 0)


async def test_who_goes_away_in_the_moment_of_being_let_in_makes_room_too() -> None:
    room = Room(10, 100)
    found = await guests(room, 10, 10, 10)
    found[0].leave.set()
    while room.waiting_bytes == 2:
        await asyncio.sleep(0)
    found[1].task.cancel()  # let in, and has not gone on yet
    await settle()
    assert inside(found) == [False, False, True]
    assert room.pixels == 10


async def test_who_goes_away_is_not_let_in_before_it_notices() -> None:
    room = Room(10, 100)
    found = await guests(room, 10, 10, 10)
    found[0].leave.set()
    found[1].task.cancel()
    await settle()
    assert inside(found) == [False, False, True]
    assert (room.pixels, room.waiting_bytes) == (10, 0)


async def test_random_guests_leave_nothing_behind() -> None:
    chance, room = random.Random(0), Room(10, 1_000)
    found: list[Guest] = []
    for _ in range(2_000):
        found.append(Guest(room, chance.randint(1, 12)))
        await asyncio.sleep(0)
        for leaving in chance.sample(found[-20:], min(3, len(found))):
            leaving.leave.set() if chance.random() < 0.5 else leaving.task.cancel()
        assert room.pixels <= 12
    for guest in found:
        guest.leave.set()
    await asyncio.gather(*(guest.task for guest in found), return_exceptions=True)
    assert (room.pixels, room.waiting_bytes, len(room._waiting)) == (0, 0, 0)
