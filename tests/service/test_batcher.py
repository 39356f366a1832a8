"""One test for each invariant that the batcher states, by the same name, and then all at once."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections import Counter
from collections.abc import Sequence
from types import NoneType
from typing import Any

import pytest

from service.batcher import Batch, Batcher, Closed, Done, Expired, Full, Priority, RunFailed
from tests.service.held import Clock, Device, Part, settle

pytestmark = pytest.mark.anyio

Numbers = Batcher[Part, Part]


def batcher(device: Device, **changes: Any) -> Numbers:  # noqa: ANN401
    limits = {"max_batch_rows": 4, "max_queue_rows": 100, "max_queue_bytes": 10_000}
    return Batcher(device.run, **(limits | changes))


async def submit(
    to: Numbers,
    *rows: int,
    key: str = "",
    nbytes: int = 1,
    deadline: float | None = None,
    priority: Priority = "interactive",
) -> asyncio.Task[Done[Part]]:
    """Start a submit, and let it come as far as it can."""
    work = to.submit(list(rows), key=key, nbytes=nbytes, deadline=deadline, priority=priority)
    task = asyncio.create_task(work)
    await settle()
    return task


async def parts(task: asyncio.Task[Done[Part]]) -> list[Part]:
    return (await task).parts


async def test_every_accepted_item_ends_exactly_once() -> None:
    device, clock = Device(held=True), Clock()
    device.poison = {3}
    many = batcher(device, max_batch_rows=1, clock=clock)
    first = await submit(many, 1)
    answered, poisoned = await submit(many, 2), await submit(many, 3)
    expiring, cancelled = await submit(many, 4, deadline=101), await submit(many, 5)
    cancelled.cancel()
    clock.now = 102
    await device.release_all()
    assert [await parts(first), await parts(answered)] == [[[2]], [[4]]]
    with pytest.raises(RunFailed):
        await poisoned
    with pytest.raises(Expired):
        await expiring
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert many.waiting_rows == 0


async def test_an_idle_model_starts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(held=True)
    idle = batcher(device)
    monkeypatch.setattr(asyncio.get_running_loop(), "call_at", None)  # a timer would fail
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", None)
    await submit(idle, 1)
    assert device.batches == [[[1]]]


async def test_what_comes_alone_while_nothing_runs_is_answered_without_a_task() -> None:
    device, told = Device(held=True), list[Batch[Part]]()
    quick = batcher(device, run_at_once=lambda rows: [10 * row for row in rows], told=told.append)
    done = quick.submit([1, 2], key="", nbytes=1)
    assert done.send(None) is None  # one step of the event loop, for who else comes
    with pytest.raises(StopIteration) as ended:
        done.send(None)
    assert ended.value.value.parts == [[10, 20]]
    assert [batch.parts for batch in told] == [[[1, 2]]]
    assert not device.batches


async def test_who_was_first_in_a_step_shares_the_batch_of_the_others() -> None:
    device, at_once = Device(), list[Part]()

    def run(rows: Part) -> Part:
        at_once.append(rows)
        return [2 * row for row in rows]

    quick = batcher(device, run_at_once=run)
    for alone in ([[7]], [[7], [8]]):
        work = (quick.submit([row], key="", nbytes=1) for row in range(4))
        assert [done.parts for done in await asyncio.gather(*work)] == [[[0]], [[2]], [[4]], [[6]]]
        await settle()
        assert sorted(device.batches.pop()) == [[0], [1], [2], [3]]
        await quick.submit(alone[-1], key="", nbytes=1)
        assert at_once == alone
    assert not device.batches


async def test_who_goes_away_in_its_first_step_keeps_nobody_from_running_at_once() -> None:
    device = Device()
    quick = batcher(device, run_at_once=lambda rows: rows)
    gone = asyncio.create_task(quick.submit([1], key="", nbytes=1))
    await asyncio.sleep(0)
    gone.cancel()
    await settle()
    assert await parts(await submit(quick, 2)) == [[2]]
    assert not device.batches


async def test_nothing_runs_at_once_where_something_else_waits_or_runs() -> None:
    device = Device(held=True)
    answer: list[Part | None] = [None]
    quick = batcher(device, run_at_once=lambda rows: answer[0])
    first = await submit(quick, 1)  # would take too long
    answer[0] = [99]
    second = await submit(quick, 2)
    await device.release_all()
    assert [await parts(task) for task in (first, second)] == [[[2]], [[4]]]
    assert await parts(await submit(quick, 3)) == [[99]]
    large = await submit(quick, 1, 2, 3, 4, 5)  # more than a batch
    await device.release_all()
    assert await parts(large) == [[2, 4, 6, 8], [10]]


async def test_nothing_runs_at_once_beside_what_began_to_run_in_its_step() -> None:
    device, at_once = Device(held=True), list[Part]()

    async def start(row: int, key: str, priority: Priority) -> Done[Part]:
        return await both.submit([row], key=key, nbytes=1, priority=priority)

    # The places of a new batcher look for work between the two steps of who came before they did.
    first = asyncio.create_task(start(1, "a", "bulk"))
    other = asyncio.create_task(start(2, "b", "interactive"))
    both = batcher(device, run_at_once=at_once.append)
    await settle()
    assert (device.batches, at_once) == ([[[2]]], [])
    await device.release_all()
    assert [await parts(task) for task in (first, other)] == [[[2]], [[4]]]


async def test_what_was_run_in_its_first_step_is_not_run_again_at_once() -> None:
    device, at_once = Device(), list[Part]()

    def run(rows: Part) -> Part:
        at_once.append(rows)
        return rows

    new = batcher(device, run_at_once=run)
    other = asyncio.create_task(new.submit([2], key="", nbytes=1))  # waits when 1 has been run
    assert (await new.submit([1], key="", nbytes=1)).parts == [[2]]
    assert await parts(other) == [[2]]
    assert (device.batches, at_once) == ([[[1]]], [[2]])


async def test_nothing_runs_at_once_when_closing_has_begun() -> None:
    device, at_once = Device(), list[Part]()
    closing = batcher(device, run_at_once=at_once.append)
    await settle()
    task = asyncio.create_task(closing.submit([1], key="", nbytes=1))
    await asyncio.gather(closing.close())  # begins between the two steps of the task
    assert await parts(task) == [[2]]
    assert (device.batches, at_once) == ([[[1]]], [])


async def test_what_expires_in_its_first_step_is_not_run_at_once() -> None:
    device, clock, at_once = Device(), Clock(), list[Part]()
    withdrawn: list[int] = []
    late = batcher(device, run_at_once=at_once.append, withdrawn=withdrawn.append, clock=clock)
    await settle()
    task = asyncio.create_task(late.submit([1, 2], key="", nbytes=1, deadline=101))
    await asyncio.sleep(0)
    clock.now = 101
    with pytest.raises(Expired):
        await task
    assert (device.batches, at_once, withdrawn) == ([], [], [2])
    assert (late.waiting_rows, late._queue.nbytes) == (0, 0)


async def test_what_runs_at_once_is_told_the_wait_of_its_step() -> None:
    clock = Clock()

    def run(rows: Part) -> Part:
        clock.now += 2
        return rows

    timed = batcher(Device(), run_at_once=run, clock=clock)
    await settle()
    task = asyncio.create_task(timed.submit([1], key="", nbytes=1))
    await asyncio.sleep(0)
    clock.now += 3
    assert await task == Done([[1]], queued_s=3, ran_s=2)


async def test_what_fails_at_once_is_left_to_the_queue() -> None:
    def fail(rows: Part) -> Part:
        raise RuntimeError("at once")

    device = Device()
    device.poison = {1}
    poisoned = batcher(device, run_at_once=fail)
    with pytest.raises(RunFailed, match="poison"):
        await poisoned.submit([1], key="", nbytes=1)
    assert await parts(await submit(poisoned, 2)) == [[4]]


async def test_batches_form_while_the_model_is_busy() -> None:
    device = Device(held=True)
    busy = batcher(device)
    for row in range(4):
        await submit(busy, row)
    assert device.batches == [[[0]]]
    await device.release()
    assert device.batches[1:] == [[[1], [2], [3]]]


async def test_what_waits_gets_as_much_of_the_event_loop_as_what_comes_in() -> None:
    clock, steps = Clock(), list[str]()

    async def run(parts: Sequence[Part]) -> list[Part]:
        clock.now += 1
        steps.append("run")
        return list(parts)

    async def others() -> None:
        while busy.waiting_rows:
            clock.now += 3
            steps.append("others")
            await asyncio.sleep(0)

    busy: Numbers = Batcher(
        run, max_batch_rows=2, max_queue_rows=99, max_queue_bytes=99, clock=clock
    )
    work = (busy.submit([row], key=row, nbytes=1) for row in range(12))
    await asyncio.gather(*work, others())
    # Three seconds of runs after three of others, and one more as a run may begin in time.
    assert "".join(step[0] for step in steps) == "orrorrrrorrrrorr"


async def test_what_comes_in_the_same_step_shares_a_batch() -> None:
    device = Device()
    idle = batcher(device)
    for steps in range(2):  # it was idle from the start, and again after the first batches
        work = [idle.submit([row], key="", nbytes=1) for row in range(6)]
        results = [done.parts for done in await asyncio.gather(*work)]
        assert results == [[[0]], [[2]], [[4]], [[6]], [[8]], [[10]]]
        assert device.batches[2 * steps :] == [[[0], [1], [2], [3]], [[4], [5]]]
        await settle()


async def test_a_batch_holds_whole_rows_of_one_key() -> None:
    device = Device(held=True)
    mixed = batcher(device, max_batch_rows=8)
    await submit(mixed, 0)
    for row in range(1, 11):
        await submit(mixed, row, row + 10, key="even" if row % 2 == 0 else "odd")
    await device.release_all()
    assert device.batches[1:] == [
        [[1, 11], [3, 13], [5, 15], [7, 17]],
        [[2, 12], [4, 14], [6, 16], [8, 18]],
        [[9, 19]],
        [[10, 20]],
    ]


async def test_a_batch_holds_fewer_rows_if_rows_of_its_key_are_large() -> None:
    device = Device(held=True)
    mixed = batcher(device, most_rows=lambda key, rows: 1 if key == "large" else rows)
    await submit(mixed, 0)
    await submit(mixed, 1, 2, key="large")
    assert device.batches == [[[0]], [[1]]]  # a full batch is handed over ahead
    for row in range(3, 6):
        await submit(mixed, row, key="small")
    await submit(mixed, 6, key="large")
    await device.release_all()
    assert device.batches[2:] == [[[2]], [[3], [4], [5]], [[6]]]


async def test_a_large_item_is_split_and_its_parts_are_joined_in_order() -> None:
    device = Device(held=True)
    split = batcher(device, lanes=2)
    task = await submit(split, *range(10))
    assert device.batches == [[[0, 1, 2, 3]], [[4, 5, 6, 7]]]
    await device.release(1)
    await device.release(1)
    await device.release()
    assert await parts(task) == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18]]


async def test_rows_that_are_not_split_are_not_copied() -> None:
    seen: list[Part] = []

    async def run(parts: Sequence[Part]) -> Sequence[Part]:
        seen.extend(parts)
        return parts

    rows = [1, 2]
    whole = Batcher[Part, Part](run, max_batch_rows=4, max_queue_rows=9, max_queue_bytes=9)
    await whole.submit(rows, key="", nbytes=1)
    assert seen[0] is rows


async def test_the_items_of_a_priority_take_turns_oldest_first() -> None:
    device = Device(held=True)
    fair = batcher(device)
    await submit(fair, 0)
    await submit(fair, *range(100, 112))
    for row in (1, 2, 3, 4, 5):
        await submit(fair, row)
    await device.release_all()
    # The large item gave a full batch ahead, before the others came; then each has its turn.
    assert device.rows[1] == [100, 101, 102, 103]
    assert device.rows[2] == [104, 1, 2, 3]
    assert device.rows[3] == [4, 5, 105, 106]
    assert [row for rows in device.rows[4:] for row in rows] == list(range(107, 112))


async def test_large_items_share_each_batch() -> None:
    device = Device(held=True)
    fair = batcher(device, max_batch_rows=8)
    await submit(fair, 0)
    await submit(fair, *range(10, 16))
    await submit(fair, *range(20, 26))
    await device.release_all()
    assert device.batches[1:] == [
        [[10, 11, 12, 13], [20, 21, 22, 23]],
        [[14, 15], [24, 25]],
    ]


async def test_bulk_gets_at_least_one_batch_in_eight_while_it_waits() -> None:
    device = Device(held=True)
    shared = batcher(device, max_batch_rows=1)
    await submit(shared, 0)
    await submit(shared, 1)  # handed over ahead
    await submit(shared, *range(100, 103), priority="bulk")
    for row in range(2, 21):
        await submit(shared, row)
    await device.release_all()
    order = [rows[0] for rows in device.rows]
    assert order == [*range(9), 100, *range(9, 16), 101, *range(16, 21), 102]


async def test_bulk_waits_for_interactive() -> None:
    device = Device(held=True)
    shared = batcher(device, max_batch_rows=2)
    await submit(shared, 0)
    await submit(shared, 100, priority="bulk")
    await submit(shared, 1)
    await device.release_all()
    assert device.rows == [[0], [1], [100]]


async def test_a_cancelled_or_expired_item_is_never_run() -> None:
    device, clock = Device(held=True), Clock()
    busy = batcher(device, clock=clock)
    await submit(busy, 0)
    cancelled = await submit(busy, 1)
    expired = await submit(busy, 2, deadline=101)
    kept = await submit(busy, 3, deadline=103)
    cancelled.cancel()
    clock.now = 101  # a deadline is the first moment that is too late
    await device.release_all()
    assert device.rows == [[0], [3]]
    assert await parts(kept) == [[6]]
    with pytest.raises(Expired, match="deadline"):
        await expired


async def test_a_run_that_outlasts_the_deadline_is_not_waited_for() -> None:
    device, clock = Device(held=True), Clock()
    slow = batcher(device, clock=clock)
    with pytest.raises(Expired):
        await slow.submit([0], key="", nbytes=1, deadline=clock.now + 1e-9)
    assert device.rows == [[0]]  # it had begun
    await device.release_all()
    after = await submit(slow, 1)
    await device.release_all()
    assert await parts(after) == [[2]]


async def test_an_expired_item_takes_no_place_in_a_batch() -> None:
    device, clock = Device(held=True), Clock()
    busy = batcher(device, clock=clock)
    await submit(busy, 0)
    expired = await submit(busy, 10, 11, 12, deadline=101)
    clock.now = 101
    await submit(busy, 1, 2, 3)
    await device.release_all()
    assert device.rows == [[0], [1, 2, 3]]
    with pytest.raises(Expired):
        await expired


async def test_what_a_cancelled_item_left_on_the_device_is_dropped() -> None:
    device = Device(held=True)
    busy = batcher(device)
    gone = await submit(busy, 0, 1, 2, 3, 4, 5)
    neighbour = await submit(busy, 9)
    gone.cancel()
    await device.release_all()
    assert device.rows == [[0, 1, 2, 3], [9]]
    assert await parts(neighbour) == [[18]]


async def test_a_cancelled_item_makes_room_at_once() -> None:
    device = Device(held=True)
    full = batcher(device, max_queue_rows=3)
    await submit(full, 0)
    cancelled = await submit(full, 1, 2, 3)
    cancelled.cancel()
    await settle()
    assert full.waiting_rows == 0
    await submit(full, 4, 5, 6)
    await device.release_all()
    assert device.rows == [[0], [4, 5, 6]]


@pytest.mark.parametrize("change", [{"max_queue_rows": 3}, {"max_queue_bytes": 300}])
async def test_a_full_queue_refuses_at_once(change: dict[str, int]) -> None:
    device = Device(held=True)
    full = batcher(device, **change)
    await submit(full, 0, nbytes=100)
    accepted = [await submit(full, row, nbytes=100) for row in (1, 2, 3)]
    refused = await submit(full, 4, nbytes=100)
    assert refused.done()
    with pytest.raises(Full, match="3 rows and 300 bytes wait"):
        await refused
    await device.release_all()
    assert [await parts(task) for task in accepted] == [[[2]], [[4]], [[6]]]
    assert await parts(await submit(full, 5, nbytes=100)) == [[10]]


async def test_there_is_place_up_to_both_limits() -> None:
    device = Device(held=True)
    queue = batcher(device, max_queue_rows=3, max_queue_bytes=300)
    await submit(queue, 0, nbytes=300)  # it runs: only what waits takes a place
    await submit(queue, 1, nbytes=100)
    places = {(2, 200): True, (3, 200): False, (2, 201): False}
    assert {place: queue.has_place(*place) for place in places} == places
    queue.require_place(2, 200)
    for place in ((3, 200), (2, 201)):
        with pytest.raises(Full, match="1 rows and 100 bytes wait"):
            queue.require_place(*place)
    await device.release_all()


async def test_a_failed_batch_is_retried_in_halves_so_that_a_poisoned_item_fails_alone() -> None:
    device = Device(held=True)
    device.poison = {3}
    fragile = batcher(device)
    first = await submit(fragile, 0)
    tasks = [await submit(fragile, row) for row in (1, 2, 3, 4)]
    await device.release_all()
    assert device.rows == [[0], [1, 2, 3, 4], [1, 2], [3, 4], [3], [4]]
    assert [await parts(task) for task in (first, tasks[0], tasks[1], tasks[3])] == [
        [[0]], [[2]], [[4]], [[8]],
    ]  # fmt: skip
    with pytest.raises(RunFailed, match="ValueError: poisoned") as failure:
        await tasks[2]
    assert isinstance(failure.value.__cause__, ValueError)
    assert await parts(await submit(fragile, 5)) == [[10]]


async def test_an_item_that_was_cancelled_meanwhile_is_not_retried() -> None:
    device = Device(held=True)
    device.poison = {1}
    fragile = batcher(device)
    await submit(fragile, 0)
    poisoned, cancelled, kept = [await submit(fragile, row) for row in (1, 2, 3)]
    await device.release()
    cancelled.cancel()
    await device.release_all()
    assert device.rows == [[0], [1, 2, 3], [1], [3]]
    assert await parts(kept) == [[6]]
    with pytest.raises(RunFailed):
        await poisoned


async def test_an_item_that_failed_in_part_is_run_no_further() -> None:
    device = Device(held=True)
    device.poison = {1}
    fragile = batcher(device, max_batch_rows=2)
    large = await submit(fragile, *range(8))
    await device.release_all()
    with pytest.raises(RunFailed):
        await large
    assert device.rows == [[0, 1], [2, 3]]  # the second was handed over before the first failed
    assert fragile.waiting_rows == 0


async def test_closing_finishes_what_was_accepted() -> None:
    device = Device(held=True)
    closing = batcher(device, max_wait_s=3600)
    tasks = [await submit(closing, row) for row in range(7)]
    close = asyncio.create_task(closing.close())
    await settle()
    assert not close.done()
    with pytest.raises(Closed):
        await closing.submit([9], key="", nbytes=1)
    await device.release_all()
    await close
    assert [await parts(task) for task in tasks] == [[[2 * row]] for row in range(7)]
    assert not closing.alive
    await closing.close()


async def test_an_idle_batcher_closes_at_once() -> None:
    idle = batcher(Device(), lanes=3)
    await settle()
    close = asyncio.create_task(idle.close())
    await settle()
    assert close.done()


async def test_closing_that_is_given_up_ends_the_rest() -> None:
    device = Device(held=True)
    closing = batcher(device)
    tasks = [await submit(closing, row) for row in range(7)]
    close = asyncio.create_task(closing.close())
    await settle()
    close.cancel()
    with pytest.raises(asyncio.CancelledError):
        await close
    for task in tasks:
        with pytest.raises(Closed):
            await task
    assert closing.waiting_rows == 0


@pytest.mark.parametrize(
    "failure",
    [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), StopAsyncIteration(), None, []],
    ids=lambda failure: type(failure).__name__,
)
async def test_the_loop_survives_anything(failure: BaseException | list[Part] | None) -> None:
    answers: list[Any] = [failure]

    async def run(parts: Sequence[Part]) -> Sequence[Part]:
        answer = answers.pop() if answers else parts
        if isinstance(answer, BaseException):
            raise answer
        return answer  # also None, and too few

    tough = Batcher[Part, Part](run, max_batch_rows=4, max_queue_rows=9, max_queue_bytes=9)
    with pytest.raises(RunFailed):
        await tough.submit([1], key="", nbytes=1)
    assert (await tough.submit([2], key="", nbytes=1)).parts == [[2]]
    assert tough.alive


async def test_a_loop_that_is_stopped_says_so_and_leaves_nobody_waiting() -> None:
    device = Device(held=True)
    stopped = batcher(device)
    tasks = [await submit(stopped, row) for row in range(3)]
    for place in stopped._places:
        place.cancel()
    await settle()
    assert not stopped.alive
    for task in [*tasks, await submit(stopped, 4)]:
        with pytest.raises(Closed):
            await task


async def test_a_submit_at_the_moment_of_the_stop_ends_too() -> None:
    stopped = batcher(Device())
    await settle()
    stopped._places[0].cancel()
    with pytest.raises(Closed):
        await stopped.submit([1], key="", nbytes=1)


async def test_a_full_batch_is_handed_over_ahead_and_no_other() -> None:
    device = Device(held=True)
    eager = batcher(device)
    await submit(eager, 0)
    await submit(eager, 1, 2, 3)
    assert device.running == 1
    await submit(eager, 4)
    assert device.batches[1:] == [[[1, 2, 3], [4]]]
    await submit(eager, *range(5, 13))
    assert device.running == 2
    assert eager.waiting_rows == 8


async def test_the_times_sum_to_the_stay_and_count_waiting_ahead_as_queued() -> None:
    device, clock = Device(held=True), Clock()
    timed = batcher(device, max_batch_rows=1, clock=clock)
    tasks = [await submit(timed, row) for row in range(3)]
    clock.now += 10
    await device.release()
    clock.now += 5
    await device.release()
    clock.now += 1
    await device.release()
    times = [(done.queued_s, done.ran_s) for done in [await task for task in tasks]]
    assert times == [(0, 10), (10, 5), (15, 1)]


async def test_a_batch_that_ends_ahead_of_its_turn_leaves_the_times_of_others() -> None:
    device, clock = Device(held=True), Clock()
    timed = batcher(device, max_batch_rows=1, clock=clock)
    first, ahead = await submit(timed, 0), await submit(timed, 1)
    clock.now += 10
    await device.release(1)
    clock.now += 5
    await device.release()
    assert ((await first).ran_s, (await ahead).ran_s) == (15, 10)


async def test_lanes_run_at_once() -> None:
    device = Device(held=True)
    wide = batcher(device, lanes=2)
    for row in range(3):
        await submit(wide, row)
    assert device.rows == [[0], [1]]
    await device.release(1)
    assert device.rows == [[0], [1], [2]]


async def test_idle_lanes_share_what_waits() -> None:
    device = Device(held=True)
    wide = batcher(device, lanes=3)
    await submit(wide, 0, 1, 2, 3, 4)
    assert device.rows == [[0, 1], [2, 3], [4]]
    await submit(wide, 5, 6)
    await submit(wide, 7)
    await device.release()
    assert device.rows[3:] == [[5, 6, 7]]  # one lane is free: it has nobody to share with


async def test_few_rows_that_have_the_device_to_themselves_run_alone_and_nothing_beside_them() -> (
    None
):
    narrow, wide = Device(held=True), Device(held=True)
    both = batcher(narrow, lanes=2, run_alone=wide.run, alone_rows=2)
    await submit(both, 0, 1)
    for row in range(2, 11):
        await submit(both, row)
    assert (wide.rows, narrow.rows) == ([[0, 1]], [])
    await wide.release()
    assert narrow.rows == [[2, 3, 4, 5], [6, 7, 8, 9]]
    await narrow.release()
    assert (wide.rows[1:], narrow.rows[2:]) == ([], [[10]])  # the other lane is busy
    await narrow.release_all()
    narrow.held = True
    await submit(both, 11, 12, 13)
    assert narrow.rows[3:] == [[11, 12], [13]]  # more than are quicker alone


async def test_what_fails_alone_is_retried_alone() -> None:
    narrow, wide = Device(), Device()
    wide.poison = {1}
    both = batcher(narrow, lanes=2, run_alone=wide.run, alone_rows=2)
    tasks = [asyncio.create_task(both.submit([row], key="", nbytes=1)) for row in (0, 1)]
    assert await parts(tasks[0]) == [[0]]
    with pytest.raises(RunFailed):
        await tasks[1]
    assert (wide.rows, narrow.rows) == ([[0, 1], [0], [1]], [])


async def test_every_batch_is_told_with_its_time_and_its_failures() -> None:
    device, clock = Device(held=True), Clock()
    device.poison = {2}
    told: list[Batch[Part]] = []
    telling = batcher(device, told=told.append, clock=clock)
    tasks = [await submit(telling, row) for row in range(4)]
    clock.now += 5
    await device.release()
    clock.now += 1
    await device.release_all()
    with pytest.raises(RunFailed):
        await tasks[2]
    assert told == [
        Batch([[0]], 5, alone=False, failed_runs=0, failed_parts=0),
        Batch([[1], [2], [3]], 1, alone=False, failed_runs=3, failed_parts=1),
    ]


async def test_rows_of_two_keys_do_not_have_the_device_to_themselves() -> None:
    narrow, wide = Device(held=True), Device(held=True)
    both = batcher(narrow, lanes=2, run_alone=wide.run, alone_rows=2)
    tasks = [asyncio.create_task(both.submit([1], key=key, nbytes=1)) for key in "ab"]
    await settle()
    assert (wide.rows, narrow.rows) == ([], [[1], [1]])
    await narrow.release_all()
    assert [await parts(task) for task in tasks] == [[[2]], [[2]]]


async def test_rows_behind_one_that_failed_were_not_withdrawn() -> None:
    device = Device()
    device.poison = {0}
    withdrawn: list[int] = []
    failing = batcher(device, max_batch_rows=2, withdrawn=withdrawn.append)
    with pytest.raises(RunFailed):
        await (await submit(failing, *range(8)))
    assert withdrawn == []


async def test_what_was_never_run_is_not_told() -> None:
    device = Device(held=True)
    told: list[Batch[Part]] = []
    telling = batcher(device, max_batch_rows=2, told=told.append)
    await submit(telling, 0)
    gone = await submit(telling, 1, 2, 3, 4)
    gone.cancel()
    await device.release_all()
    assert [batch.parts for batch in told] == [[[0]], [[1, 2]]]


async def test_a_listener_that_fails_harms_nobody() -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, what: problems.append(what))

    def told(batch: Batch[Part]) -> None:
        raise ValueError("deaf")

    tough = batcher(Device(), told=told)
    for row in range(3):
        assert await parts(await submit(tough, row)) == [[2 * row]]
    assert tough.alive
    assert [str(what["exception"]) for what in problems] == ["deaf"] * 3


async def test_rows_that_never_run_are_counted() -> None:
    device, clock = Device(held=True), Clock()
    withdrawn: list[int] = []
    busy = batcher(device, withdrawn=withdrawn.append, clock=clock)
    running = await submit(busy, 0)
    cancelled, expired = await submit(busy, 1, 2), await submit(busy, 3, deadline=101)
    for task in (running, cancelled):
        task.cancel()
    await settle()
    assert withdrawn == [2]
    clock.now = 101
    await device.release_all()
    with pytest.raises(Expired):
        await expired
    assert withdrawn == [2, 1]
    device.held = True
    half = await submit(busy, *range(10, 17))
    half.cancel()
    await device.release_all()
    assert withdrawn == [2, 1, 3]  # 4 of the 7 were handed over


async def test_the_oldest_wait_is_that_of_what_waits() -> None:
    device, clock = Device(held=True), Clock()
    busy = batcher(device, clock=clock)
    await submit(busy, 0)
    assert busy.oldest_wait_s == 0
    await submit(busy, 1)
    clock.now += 3
    await submit(busy, 2, priority="bulk")
    assert busy.oldest_wait_s == 3
    await device.release()
    assert busy.oldest_wait_s == 0  # what came last is alone in the queue
    clock.now += 2
    assert busy.oldest_wait_s == 2


async def test_a_run_is_overdue_from_its_own_start() -> None:
    device, clock = Device(held=True), Clock()
    busy = batcher(device, max_batch_rows=1, clock=clock)
    await submit(busy, 0)
    await submit(busy, 1)
    clock.now += 5
    assert busy.overdue_s(0, lambda parts: 5) == 0
    assert busy.overdue_s(0, lambda parts: 4) == 5
    assert busy.overdue_s(5, lambda parts: 4) == 0
    await device.release()
    clock.now += 1
    assert busy.overdue_s(0, lambda parts: 0.5) == 1  # it waited for its turn before
    assert busy.overdue_s(0, lambda parts: 1.5 * sum(map(len, parts))) == 0


async def test_batches_may_become_smaller_while_it_works() -> None:
    device = Device(held=True)
    shrinking = batcher(device)
    await submit(shrinking, 0)
    shrinking.max_batch_rows = 2
    await submit(shrinking, 1, 2, 3, 4, 5)
    await device.release_all()
    assert device.rows == [[0], [1, 2], [3, 4], [5]]


async def test_max_wait_holds_a_batch_until_it_is_full() -> None:
    device = Device()
    patient = batcher(device, max_wait_s=3600)
    for row in range(4):
        assert device.batches == []
        await submit(patient, row)
    assert device.rows == [[0, 1, 2, 3]]


async def test_max_wait_ends() -> None:
    device = Device()
    patient = batcher(device, max_wait_s=0.001)
    assert (await patient.submit([1], key="", nbytes=1)).parts == [[2]]
    assert (await patient.submit([2], key="", nbytes=1)).parts == [[4]]


@pytest.mark.parametrize(
    "wrong", [{"max_batch_rows": 0}, {"max_queue_rows": 0}, {"lanes": 0}, {"max_wait_s": -1}]
)
async def test_limits_that_allow_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        batcher(Device(), **wrong)
    with pytest.raises(ValueError, match="no rows"):
        await batcher(Device()).submit([], key="", nbytes=1)


class WatchedRows(list[int]):
    """Rows that tell when they are gone; a plain list cannot."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class Storm:
    """Submits of every kind, in rounds, some of which are withdrawn, expire or fail."""

    def __init__(self) -> None:
        self.chance, self.clock, self.device = random.Random(0), Clock(), Device()
        self.device.poison = set(range(0, 1_000_000, 97))
        self.batcher = Numbers(
            self.run,
            max_batch_rows=4,
            max_queue_rows=30,
            max_queue_bytes=10_000,
            lanes=2,
            clock=self.clock,
        )
        self.rows: weakref.WeakSet[WatchedRows] = weakref.WeakSet()
        self.ends: Counter[type] = Counter()

    async def run(self, parts: Sequence[Part]) -> list[Part]:
        for _ in range(self.chance.randint(0, 4)):
            await asyncio.sleep(0)
        return await self.device.run(parts)

    async def round(self, first: int, count: int) -> None:
        chance, tasks = self.chance, []
        for number in range(first, first + count):
            tasks.append(asyncio.create_task(self.submit(number)))
            for _ in range(chance.choice((0, 0, 1, 2))):
                await asyncio.sleep(0)
            self.clock.now += chance.choice((0, 0, 1))
            if chance.random() < 0.8:
                chance.choice(tasks[-8:]).cancel()
        self.ends.update(map(type, await asyncio.gather(*tasks, return_exceptions=True)))
        self.device.batches.clear()

    async def submit(self, number: int) -> None:
        chance = self.chance
        rows = WatchedRows([number] * chance.randint(1, 5))
        self.rows.add(rows)
        await self.batcher.submit(
            rows,
            key=number % 3,
            nbytes=1,
            deadline=self.clock.now + chance.randint(1, 20) if chance.random() < 0.5 else None,
            priority="interactive" if chance.random() < 0.7 else "bulk",
        )


def living() -> int:
    """Objects that the collector knows, after it had its turn."""
    gc.collect()
    return len(gc.get_objects())


async def test_a_hundred_thousand_random_cancellations_leave_no_leak() -> None:
    storm, rounds = Storm(), 200
    before = asyncio.all_tasks()
    objects = 0
    for number in range(rounds):
        await storm.round(500 * number, 500)
        if number == rounds // 10:
            objects = living()
    batcher = storm.batcher
    assert batcher.alive
    assert (batcher.waiting_rows, batcher._queue.nbytes, batcher._running) == (0, 0, {})
    assert not any(batcher._queue._rings.values())
    assert asyncio.all_tasks() == before
    await settle()
    assert living() - objects < 100
    assert len(storm.rows) == 0
    assert storm.ends.total() == 100_000
    assert min(storm.ends[kind] for kind in (NoneType, Expired, Full, RunFailed)) > 100
    assert storm.ends[asyncio.CancelledError] > 30_000
    assert len(storm.ends) == 5
