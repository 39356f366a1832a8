"""How the cores are shared out among runs: one wide lane, or several narrow ones, as measured.

On a CPU one image alone is quicker with all cores, and many images are quicker on one core each. A
model whose measurements say so has both: the wide lane when it is idle, the narrow ones when it is
busy, and never both at once, so that the cores are not oversubscribed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.config import CudnnSearch
from service.cost import WORTH, CostTable


@dataclass(frozen=True, slots=True)
class Lanes:
    """Runs at once, the threads of each, and on a GPU, how they are run."""

    count: int
    threads: int
    cudnn_search: CudnnSearch | None = None
    cuda_graphs: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The lanes of a graph, and the batches that are worth making for them.

    Attributes:
        busy: the lanes for whatever waits.
        alone: a wide lane for few rows that have the device to themselves, where it is quicker.
        max_batch_rows: of one batch.
        alone_rows: most rows for which ``alone`` is quicker.
    """

    busy: Lanes
    alone: Lanes | None
    max_batch_rows: int
    alone_rows: int


def candidates(lanes: int | None, threads: int | None, cores: int) -> tuple[Lanes, ...]:
    """What is worth measuring on a CPU; one layout only where lanes or threads are set.

    Args:
        lanes: as configured; None leaves it open.
        threads: likewise, of each lane.
        cores: that may be used.
    """
    if threads is not None:
        return (Lanes(lanes or max(1, cores // threads), threads),)
    if lanes is not None:
        return (Lanes(lanes, max(1, cores // lanes)),)
    wide, narrow = Lanes(1, cores), Lanes(cores, 1)
    return (wide,) if cores == 1 else (wide, narrow)


def gpu_candidates(
    gpus: int, searches: Sequence[CudnnSearch], cuda_graphs: bool
) -> tuple[Lanes, ...]:
    """What is worth measuring on GPUs, each of which is a lane; the plainest first.

    Args:
        gpus: how many there are.
        searches: how cuDNN may find its algorithms; none where it is not asked.
        cuda_graphs: whether captured graphs are measured too.
    """
    captured = (False, True) if cuda_graphs else (False,)
    return tuple(
        Lanes(gpus, 1, each, graphs) for graphs in captured for each in searches or (None,)
    )


def choose(costs: Mapping[Lanes, CostTable], max_batch_rows: int | None) -> Layout:
    """The layout with the best rate; of two that are all but equal, the one with fewer lanes.

    Of as many lanes each, the first: on a GPU one way of running is kept, so that a seed stays
    one picture.

    Args:
        costs: of a run on one of the lanes while all of them are busy.
        max_batch_rows: as configured; None leaves it to the measurements.
    """
    work = max(table.largest_work for table in costs.values())

    def rate(lanes: Lanes) -> float:
        column = costs[lanes].column(work)
        return lanes.count * max(rows / seconds for rows, seconds in column.items())

    best = max(map(rate, costs))
    by_count = sorted(costs, key=lambda lanes: lanes.count)
    busy = next(lanes for lanes in by_count if rate(lanes) >= WORTH * best)
    possible_rows = max(costs[busy].column(work))  # more did not fit into its memory
    batch_rows = min(max_batch_rows or costs[busy].useful_rows(work), possible_rows)
    wide = by_count[0] if by_count[0].count < busy.count else busy
    alone_rows = 0
    while wide != busy and alone_rows < batch_rows:
        rows = alone_rows + 1
        shared_s = costs[busy].seconds_for(-(-rows // busy.count), work)
        if costs[wide].seconds_for(rows, work) >= WORTH * shared_s:
            break
        alone_rows = rows
    return Layout(busy, wide if alone_rows else None, batch_rows, alone_rows)
