"""What failing batches say, for every kind of failure that there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from service.faults import Faults, Verdict, is_out_of_memory, run_in_halves
from service.rows import Rows


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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of 8", True),
        ("CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; file=cuda_allocator.cc", True),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0", True),
        ("std::bad_alloc: bad allocation", True),
        ("TensorRT: Error Code 2: OutOfMemory (Requested size was 8 bytes.)", True),
        ("indices element out of data bounds, idx=3 must be within the inclusive range", False),
        ("CUDA failure 700: an illegal memory access was encountered", False),
    ],
)
def test_a_lack_of_memory_is_known_by_its_words(words: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(words)) == expected
    assert is_out_of_memory(MemoryError())


@pytest.mark.anyio
@pytest.mark.parametrize("count", [2, 5, 16])
async def test_halves_of_a_request_are_joined_in_order(count: int) -> None:
    sizes: list[int] = []

    async def run(parts: Sequence[Rows]) -> list[Rows]:
        sizes.extend(map(len, parts))
        return list(parts)

    part = Rows({"z": np.arange(count)})
    assert (await run_in_halves(run, part))["z"].tolist() == list(range(count))
    assert sizes == [count // 2, count - count // 2]
