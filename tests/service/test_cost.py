"""What a run costs: how it is measured, kept, scaled to other sizes, and put right."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from service.cost import RUNS, Caution, CostTable, measure

pytestmark = pytest.mark.anyio


class Stopwatch:
    """Runs that take what the test says, and are counted."""

    def __init__(self, seconds: Callable[[int, int], float]) -> None:
        self.runs: list[int] = []
        self._seconds = seconds

    async def run(self, rows: int) -> float:
        """The seconds of the next run of so many rows; run 0 is the first."""
        self.runs.append(rows)
        return self._seconds(rows, self.runs.count(rows) - 1)


# --- Measuring. ---


async def test_the_first_run_is_not_counted_and_of_the_others_the_median_is() -> None:
    times = [9.0, 0.003, 0.001, 0.002, 0.008, 0.001]
    watch = Stopwatch(lambda rows, number: times[number])
    assert await measure(watch.run, [4]) == {4: 0.002}
    assert watch.runs == [4] * (1 + RUNS)


async def test_every_bucket_is_run_at_least_twice_when_the_device_is_slow() -> None:
    watch = Stopwatch(lambda rows, number: 0.04 * rows)
    found = await measure(watch.run, [1, 2, 3], budget_s=0.3)
    assert list(found) == [1, 2, 3]
    assert watch.runs == [1, 1, 1, 1, 2, 2, 2, 3, 3]


async def test_a_device_that_used_up_the_budget_is_not_given_larger_batches() -> None:
    watch = Stopwatch(lambda rows, number: 1.0 * rows)
    assert await measure(watch.run, [1, 2, 4, 8], budget_s=2.5) == {1: 1, 2: 2}
    every = await measure(Stopwatch(lambda rows, number: rows).run, [1, 2, 4, 8], every=True)
    assert every == {1: 1, 2: 2, 4: 4, 8: 8}


async def test_fewer_rows_never_count_as_slower_than_more() -> None:
    watch = Stopwatch(lambda rows, number: {1: 0.05, 2: 0.002, 3: 0.003, 4: 0.001}[rows])
    assert set((await measure(watch.run, [1, 2, 3, 4])).values()) == {0.001}


async def test_a_bucket_that_does_not_fit_into_memory_ends_the_list() -> None:
    def seconds(rows: int, number: int) -> float:
        if rows > 2:
            raise MemoryError
        return 0.001

    assert list(await measure(Stopwatch(seconds).run, [1, 2, 4, 8], every=True)) == [1, 2]
    with pytest.raises(MemoryError):
        await measure(Stopwatch(seconds).run, [4, 8])


# --- Predicting. ---


def table() -> CostTable:
    return CostTable({100: {1: 1.0, 2: 1.5, 4: 2.0, 8: 4.0}})


def test_rows_cost_what_their_bucket_costs_and_beyond_the_last_in_proportion() -> None:
    costs = table()
    assert [costs.seconds_for(rows, 100) for rows in (1, 2, 3, 8, 16)] == [1.0, 1.5, 2.0, 4.0, 8.0]


def test_the_useful_rows_are_the_fewest_whose_rate_is_all_but_the_best() -> None:
    assert table().useful_rows(100) == 4  # 8 give the same rate, later
    flat = CostTable({100: {1: 1.0, 2: 2.0, 16: 15.9}})
    assert flat.useful_rows(100) == 1
    steep = CostTable({100: {1: 1.0, 2: 1.0, 16: 1.0}})
    assert steep.useful_rows(100) == 16


def test_a_shape_that_was_not_measured_costs_by_its_elements() -> None:
    costs = CostTable({100: {1: 1.0, 2: 1.5}, 400: {1: 3.0}})
    assert costs.seconds_for(2, 200) == 3.0
    assert costs.seconds_for(1, 1600) == 12.0
    assert costs.largest_work == 400


def test_what_is_observed_moves_its_own_bucket_step_by_step() -> None:
    costs = table()
    assert costs.observe(3, 100, 2.2) == pytest.approx(1.1)
    assert costs.seconds_for(4, 100) == pytest.approx(2.02)
    assert costs.seconds_for(2, 100) == 1.5
    for _ in range(100):
        costs.observe(4, 100, 6.0)
    assert costs.seconds_for(4, 100) == pytest.approx(6.0, rel=1e-3)


def test_one_stall_changes_little() -> None:
    costs = table()
    assert costs.observe(1, 100, 1000.0) == 1000
    assert costs.seconds_for(1, 100) == pytest.approx(1.3)


def test_a_new_shape_is_known_once_it_was_observed_and_only_so_many_are() -> None:
    costs = table()
    assert costs.observe(1, 200, 3.0) == 1.5
    assert costs.seconds_for(1, 200) == 3.0
    assert costs.seconds_for(2, 200) == 4.5
    for work in range(1000, 2000):
        costs.observe(1, work, 1.0)
    assert len(costs.columns()) == 64
    assert costs.seconds_for(1, 100_000) > 0


def test_a_table_without_a_measurement_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        CostTable({})
    with pytest.raises(ValueError, match="at least one"):
        CostTable({100: {}})


# --- Caution. ---


def test_caution_stretches_predictions_until_nine_in_ten_keep_to_them() -> None:
    caution = Caution()
    took = [1.0 + 0.01 * (37 * k % 100) for k in range(5000)]  # 1 to 2 s, in no order
    for seconds in took:
        caution.learn(1.0, seconds)
    assert caution.factor == pytest.approx(1.9, abs=0.05)
    late = sum(seconds > caution.factor for seconds in took)
    assert late == pytest.approx(500, abs=250)


def test_caution_is_bounded_and_forgotten() -> None:
    caution = Caution()
    for _ in range(1000):
        caution.learn(1.0, math.inf)
    assert caution.factor == Caution.LARGEST
    for _ in range(2000):
        caution.learn(1.0, 0.5)
    assert caution.factor == 1.0


def test_larger_rows_than_were_measured_make_smaller_batches() -> None:
    table = CostTable({100: {1: 1.0, 8: 2.0}, 50: {1: 0.5, 8: 1.0}})
    found = [table.possible_rows(8, work) for work in (10, 50, 100, 101, 200, 400, 801, 10_000)]
    assert found == [8, 8, 8, 7, 4, 2, 1, 1]
