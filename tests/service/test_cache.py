"""The cache of replies: each made once, nothing poisoned, never more bytes than allowed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.cache import ENTRY_BYTES, Outcome, ReplyCache
from tests.service.held import settle

pytestmark = pytest.mark.anyio

ROOMY_BYTES = 2**20


@dataclass(frozen=True)
class Value:
    """Something to keep."""

    name: str
    nbytes: int = 100


@dataclass
class Maker:
    """Makes numbered values; while ``held``, each waits for its gate."""

    held: bool = False
    made: int = 0
    gates: list[asyncio.Future[None]] = field(default_factory=list)

    async def __call__(self) -> Value:
        if self.held:
            self.gates.append(gate := asyncio.get_running_loop().create_future())
            await gate
        self.made += 1
        return Value(f"value {self.made}")


class Broken(Exception):
    """A maker's failure."""


Cache = ReplyCache[Value]
Call = asyncio.Task[tuple[Value, Outcome]]


async def calls(cache: Cache, maker: Maker, count: int) -> list[Call]:
    """Calls for one key, each on its way as far as it gets."""
    tasks = [asyncio.create_task(cache.get("key", maker)) for _ in range(count)]
    await settle()
    return tasks


def nothing_is_in_the_making(cache: Cache) -> bool:
    return not cache._flights


# --- Each is made once. ---


async def test_what_is_kept_is_not_made_again() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker()
    first, second = [await cache.get("key", maker) for _ in range(2)]
    assert (first, second) == ((Value("value 1"), "miss"), (Value("value 1"), "hit"))
    assert maker.made == 1


async def test_another_key_is_another_value() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker()
    names = [(await cache.get(key, maker))[0].name for key in "aba"]
    assert names == ["value 1", "value 2", "value 1"]


async def test_calls_at_once_share_one_making() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker(held=True)
    tasks = await calls(cache, maker, 5)
    assert len(maker.gates) == 1
    maker.gates[0].set_result(None)
    found = await asyncio.gather(*tasks)
    assert [outcome for _, outcome in found] == ["miss"] + ["shared"] * 4
    assert {value.name for value, _ in found} == {"value 1"}
    assert nothing_is_in_the_making(cache)


async def test_other_keys_do_not_wait() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker(held=True)
    [task] = await calls(cache, maker, 1)
    assert await cache.get("other", Maker()) == (Value("value 1"), "miss")
    maker.gates[0].set_result(None)
    await task


async def test_what_is_too_large_to_keep_is_still_shared() -> None:
    cache, maker = Cache(ENTRY_BYTES + 99), Maker(held=True)
    tasks = await calls(cache, maker, 3)
    maker.gates[0].set_result(None)
    assert [outcome for _, outcome in await asyncio.gather(*tasks)] == ["miss", "shared", "shared"]
    assert cache.nbytes == 0
    maker.held = False
    assert (await cache.get("key", maker))[1] == "miss"


# --- Nobody fails of another's fault. ---


async def test_a_follower_takes_over_when_the_maker_fails() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker(held=True)
    tasks = await calls(cache, maker, 4)
    maker.gates[0].set_exception(Broken())
    await settle()
    assert [task.done() for task in tasks] == [True, False, False, False]
    assert len(maker.gates) == 2  # one follower makes it now, the others wait for that one
    maker.gates[1].set_result(None)
    with pytest.raises(Broken):
        await tasks[0]
    found = await asyncio.gather(*tasks[1:])
    assert [outcome for _, outcome in found] == ["miss", "shared", "shared"]
    assert nothing_is_in_the_making(cache)


async def test_a_follower_takes_over_when_the_maker_is_cancelled() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker(held=True)
    tasks = await calls(cache, maker, 3)
    tasks[0].cancel()
    await settle()
    assert tasks[0].cancelled()
    assert maker.gates[0].cancelled()  # nothing is computed for who went away
    maker.gates[1].set_result(None)
    found = await asyncio.gather(*tasks[1:])
    assert [outcome for _, outcome in found] == ["miss", "shared"]
    assert maker.made == 1


async def test_when_all_fail_each_fails_by_itself() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker(held=True)
    tasks = await calls(cache, maker, 3)
    for turn in range(3):
        maker.gates[turn].set_exception(Broken(turn))
        await settle()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["0", "1", "2"]
    assert nothing_is_in_the_making(cache)
    assert (await cache.get("key", Maker()))[1] == "miss"


async def test_a_follower_that_is_cancelled_ends_nobody_else() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker(held=True)
    tasks = await calls(cache, maker, 3)
    tasks[1].cancel()
    await settle()
    assert [task.done() for task in tasks] == [False, True, False]
    maker.gates[0].set_result(None)
    assert (await tasks[0])[0] == (await tasks[2])[0] == Value("value 1")


async def test_a_follower_waits_no_longer_than_it_may() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker(held=True)
    [first] = await calls(cache, maker, 1)
    with pytest.raises(TimeoutError):
        await cache.get("key", maker, timeout_s=0)
    maker.gates[0].set_result(None)
    assert await first == (Value("value 1"), "miss")
    assert await cache.get("key", maker, timeout_s=0) == (Value("value 1"), "hit")


async def test_a_maker_with_a_shorter_deadline_leaves_the_others_theirs() -> None:
    cache, maker = Cache(ROOMY_BYTES), Maker(held=True)

    async def hurried() -> Value:
        async with asyncio.timeout(None) as deadline:
            deadlines.append(deadline)
            return await maker()

    deadlines: list[asyncio.Timeout] = []
    leader = asyncio.create_task(cache.get("key", hurried))
    await settle()
    tasks = await calls(cache, maker, 2)
    patient = asyncio.create_task(cache.get("key", maker, timeout_s=30))
    await settle()
    deadlines[0].reschedule(0)  # that of the one who makes it for all
    with pytest.raises(TimeoutError):
        await leader
    await settle()
    maker.gates[1].set_result(None)
    assert [(await task)[1] for task in (*tasks, patient)] == ["miss", "shared", "shared"]


# --- Bounded, and off. ---


async def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(2 * (ENTRY_BYTES + 100))
    maker = Maker()
    outcomes = [(await cache.get(key, maker))[1] for key in ("a", "b", "a", "c", "a", "b")]
    assert outcomes == ["miss", "miss", "hit", "miss", "hit", "miss"]


@settings(max_examples=100, deadline=None)
@given(
    limit_bytes=st.integers(1, 8 * ENTRY_BYTES),
    asked=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4 * ENTRY_BYTES))),
)
def test_no_more_is_kept_than_allowed(limit_bytes: int, asked: list[tuple[int, int]]) -> None:
    cache, model = Cache(limit_bytes), OrderedDict[str, int]()
    sizes: dict[str, int] = {}

    async def ask_all() -> None:
        for number, nbytes in asked:
            key = str(number)
            size = sizes.setdefault(key, nbytes)

            async def make(value: Value = Value(key, size)) -> Value:
                return value

            value, outcome = await cache.get(key, make)
            assert value == Value(key, size)
            assert outcome == ("hit" if key in model else "miss")
            if size + ENTRY_BYTES <= limit_bytes:
                model[key] = size + ENTRY_BYTES
                model.move_to_end(key)
            while sum(model.values()) > limit_bytes:
                model.popitem(last=False)
            assert cache.nbytes == sum(model.values()) <= limit_bytes

    asyncio.run(ask_all())


async def test_off_nothing_is_kept_shared_or_counted() -> None:
    seen: list[Outcome] = []
    cache, maker = Cache(0, seen.append), Maker(held=True)
    tasks = await calls(cache, maker, 3)
    assert len(maker.gates) == 3
    for gate in maker.gates:
        gate.set_result(None)
    assert {outcome for _, outcome in await asyncio.gather(*tasks)} == {"miss"}
    assert (maker.made, cache.nbytes, seen) == (3, 0, [])


async def test_each_outcome_is_told() -> None:
    seen: list[Outcome] = []
    cache, maker = Cache(ROOMY_BYTES, seen.append), Maker(held=True)
    tasks = await calls(cache, maker, 2)
    maker.gates[0].set_result(None)
    await asyncio.gather(*tasks)
    await cache.get("key", maker)
    assert seen == ["miss", "shared", "hit"]


def test_what_is_kept_anew_is_counted_once() -> None:
    cache = Cache(2 * (100 + ENTRY_BYTES))
    for _ in range(5):
        cache.keep("key", Value("the same"))
    assert cache.nbytes == 100 + ENTRY_BYTES
    cache.keep("other", Value("another"))
    assert cache.find("key")
    assert cache.find("other")


def test_a_cache_that_is_off_keeps_nothing() -> None:
    outcomes: list[Outcome] = []
    cache = Cache(0, outcomes.append)
    cache.keep("key", Value("unwanted"))
    assert (cache.nbytes, outcomes) == (0, [])
