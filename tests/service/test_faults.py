"""What failing batches say, for every kind of failure that there is."""

from __future__ import annotations

from service.faults import Faults, Verdict


def whole(faults: Faults, rows: int = 4) -> Verdict:
    return faults.judge(rows, parts=rows, failed_runs=0, failed_parts=0)


def in_pieces(faults: Faults, rows: int = 4) -> Verdict:
    return faults.judge(rows, parts=rows, failed_runs=1, failed_parts=0)


def lost(faults: Faults, rows: int = 4, parts: int = 4) -> Verdict:
    return faults.judge(rows, parts, failed_runs=2 * parts - 1, failed_parts=parts)


def test_poison_that_fails_alone_is_fine_however_often_it_comes() -> None:
    faults = Faults()
    for _ in range(20):
        assert faults.judge(4, parts=4, failed_runs=3, failed_parts=1) == "fine"


def test_batches_that_come_through_only_in_pieces_are_too_large() -> None:
    faults = Faults()
    assert [in_pieces(faults), in_pieces(faults)] == ["fine", "too large"]
    assert [in_pieces(faults), in_pieces(faults)] == ["fine", "too large"]


def test_small_batches_that_succeed_do_not_excuse_large_ones() -> None:
    faults = Faults()
    assert [in_pieces(faults), whole(faults, 1), in_pieces(faults)] == ["fine", "fine", "too large"]
    assert [in_pieces(faults), whole(faults, 4), in_pieces(faults)] == ["fine"] * 3


def test_a_device_of_which_nothing_comes_through_is_suspected() -> None:
    faults = Faults()
    assert [lost(faults) for _ in range(4)] == ["fine", "fine", "suspect", "fine"]


def test_a_batch_that_succeeds_clears_the_device() -> None:
    faults = Faults()
    for _ in range(5):
        assert [lost(faults, parts=1), lost(faults), whole(faults, 1)] == ["fine"] * 3
