"""Which lanes are measured, and which are chosen, for devices of known costs."""

from __future__ import annotations

import pytest

from service.config import CudnnSearch
from service.cost import CostTable
from service.lanes import Lanes, Layout, candidates, choose, gpu_candidates

WIDE, NARROW = Lanes(1, 4), Lanes(4, 1)


@pytest.mark.parametrize(
    ("lanes", "threads", "cores", "expected"),
    [
        (None, None, 4, (WIDE, NARROW)),
        (None, None, 1, (Lanes(1, 1),)),
        (None, 2, 4, (Lanes(2, 2),)),
        (None, 8, 4, (Lanes(1, 8),)),
        (3, None, 4, (Lanes(3, 1),)),
        (2, None, 4, (Lanes(2, 2),)),
        (1, 1, 4, (Lanes(1, 1),)),
    ],
)
def test_open_settings_are_measured_and_never_take_more_cores_than_there_are(
    lanes: int | None, threads: int | None, cores: int, expected: tuple[Lanes, ...]
) -> None:
    found = candidates(lanes, threads, cores)
    assert found == expected
    if threads is None:
        assert all(each.count * each.threads <= cores for each in found)


def costs(wide: dict[int, float], narrow: dict[int, float]) -> dict[Lanes, CostTable]:
    return {WIDE: CostTable({100: wide}), NARROW: CostTable({100: narrow})}


def test_a_device_that_is_quicker_in_parallel_has_narrow_lanes_and_a_wide_one_for_few_rows() -> (
    None
):
    found = costs({1: 0.5, 2: 1.0, 4: 2.0}, {1: 1.2, 2: 2.4, 4: 4.8})
    assert choose(found, None) == Layout(NARROW, WIDE, max_batch_rows=1, alone_rows=1)
    # Set batches are kept; three rows take 1.5 s wide, and 1.2 s on three of the narrow lanes.
    assert choose(found, 4) == Layout(NARROW, WIDE, max_batch_rows=4, alone_rows=2)


def test_a_wide_lane_that_is_no_quicker_for_one_row_is_not_kept() -> None:
    found = costs({1: 1.0, 2: 2.0}, {1: 1.0, 2: 2.0})
    assert choose(found, None) == Layout(NARROW, None, max_batch_rows=1, alone_rows=0)


def test_of_equals_the_one_with_fewer_lanes_is_chosen() -> None:
    found = costs({1: 1.0, 16: 4.0}, {1: 3.0, 16: 15.6})
    assert choose(found, None) == Layout(WIDE, None, max_batch_rows=16, alone_rows=0)


def test_set_batches_are_no_larger_than_what_could_be_measured() -> None:
    found = costs({1: 1.0, 2: 1.1}, {1: 9.0})
    assert choose(found, 64) == Layout(WIDE, None, max_batch_rows=2, alone_rows=0)


def test_the_largest_size_decides() -> None:
    found = {
        WIDE: CostTable({100: {1: 0.1}, 900: {1: 1.0}}),
        NARROW: CostTable({100: {1: 4.0}, 900: {1: 2.0}}),
    }
    assert choose(found, None).busy == NARROW


def test_on_gpus_each_is_a_lane_and_every_way_to_run_is_measured_the_plainest_first() -> None:
    assert gpu_candidates(2, ("heuristic", "default"), True) == (
        Lanes(2, 1, "heuristic"),
        Lanes(2, 1, "default"),
        Lanes(2, 1, "heuristic", cuda_graphs=True),
        Lanes(2, 1, "default", cuda_graphs=True),
    )
    assert gpu_candidates(1, (), False) == (Lanes(1, 1),)


@pytest.mark.parametrize(("exhaustive_s", "chosen"), [(3.0, "exhaustive"), (3.9, "heuristic")])
def test_on_gpus_the_quickest_search_is_chosen_the_first_of_equals_and_only_one(
    exhaustive_s: float, chosen: CudnnSearch
) -> None:
    heuristic, exhaustive = gpu_candidates(1, ("heuristic", "exhaustive"), False)
    # Alone, a row is quicker the other way; but a seed is to stay one picture.
    alone_s = 1.5 if chosen == "exhaustive" else 0.5
    found = {
        heuristic: CostTable({100: {1: 1.0, 16: 4.0}}),
        exhaustive: CostTable({100: {1: alone_s, 16: exhaustive_s}}),
    }
    layout = choose(found, None)
    assert layout.busy.cudnn_search == chosen
    assert (layout.alone, layout.alone_rows) == (None, 0)
