"""Is the exported graph the generator that was trained? Measured, and refused when it is not.

Two questions, both asked of the floats before quantisation and of the finished bytes:

- do ONNX Runtime and TorchScript give what eager torch gives, at every batch size of BATCHES?
- is a row the same whoever its neighbours are? It must be: the service batches strangers.

Everything here is arrays and functions of arrays: it does not know what computes them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import ParityError
from export.manifest import Input, Parity
from export.origin import FLOAT_LIMIT, LEVEL_LIMIT, SHARE_LIMIT
from export.rows import Rows, Run, cut, varied_rows

BATCHES = (1, 2, 3, 8, 17)

_STRANGERS = 1000  # first seed of the neighbours that a row has the second time


@dataclass(frozen=True)
class Deviation:
    """How far outputs are from what they should be."""

    max_abs: float = 0.0  # of the floats
    max_levels: int = 0  # of the uint8 values
    differing: int = 0
    compared: int = 0

    @property
    def share(self) -> float:
        """Of the uint8 values compared, how many differ at all."""
        return self.differing / max(1, self.compared)

    def __or__(self, other: Deviation) -> Deviation:
        return Deviation(
            max(self.max_abs, other.max_abs),
            max(self.max_levels, other.max_levels),
            self.differing + other.differing,
            self.compared + other.compared,
        )

    @property
    def within(self) -> bool:
        """Whether all three limits hold."""
        return (
            self.max_abs <= FLOAT_LIMIT
            and self.max_levels <= LEVEL_LIMIT
            and self.share <= SHARE_LIMIT
        )

    def __str__(self) -> str:
        return (
            f"{self.max_abs:.1e} before quantisation (limit {FLOAT_LIMIT:.0e}), "
            f"{self.max_levels} levels after it (limit {LEVEL_LIMIT}), "
            f"on {self.share:.2%} of the values (limit {SHARE_LIMIT:.1%})"
        )


def deviation(expected: Rows, given: Rows) -> Deviation:
    """How far ``given`` is from ``expected``, in the outputs that both have.

    Raises:
        ParityError: an output has another shape or type, or there is none to compare.
    """
    total, shared = Deviation(), expected.keys() & given.keys()
    if not shared:
        raise ParityError(f"no output is shared: {sorted(given)}, expected {sorted(expected)}")
    for name in shared:
        wanted, got = expected[name], given[name]
        if wanted.shape != got.shape or wanted.dtype != got.dtype:
            raise ParityError(
                f"output {name!r} is {got.dtype} {list(got.shape)}, "
                f"expected {wanted.dtype} {list(wanted.shape)}"
            )
        if wanted.dtype == np.uint8:
            levels = np.abs(wanted.astype(np.int16) - got.astype(np.int16))
            total |= Deviation(0.0, int(levels.max()), int(np.count_nonzero(levels)), levels.size)
        else:
            distance = np.nan_to_num(np.abs(wanted - got), nan=np.inf, posinf=np.inf)
            total |= Deviation(float(distance.max()))
    return total


def _where(kept: NDArray[np.bool_], ours: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    return np.where(kept.reshape(-1, *[1] * (ours.ndim - 1)), ours, others)


def _only(rows: Rows, kept: NDArray[np.bool_]) -> Rows:
    return {name: array[kept] for name, array in rows.items()}


@dataclass(frozen=True)
class Case:
    """A graph's inputs, and the [height, width] at which to try it."""

    inputs: tuple[Input, ...]
    sizes: tuple[tuple[int, int], ...]

    def batches(self) -> Iterator[tuple[str, Rows]]:
        """Rows of each size and batch size, all different, with words for an error message."""
        for height, width in self.sizes:
            first = 0
            for count in BATCHES:
                rows = varied_rows(self.inputs, range(first, first + count), height, width)
                yield f"batch {count} of {height}x{width}", rows
                first += count


@dataclass(frozen=True)
class Trial:
    """Rows, and what the trained generator makes of them; ``where`` is for an error message."""

    where: str
    rows: Rows
    expected: Rows


def check_generator(eager: Run, case: Case) -> list[Trial]:
    """The trained generator by itself: finite, without randomness, rows independent.

    Returns:
        What it made, for an exported graph to be compared with.

    Raises:
        ParityError: it is not so.
    """
    trials = []
    for where, rows in case.batches():
        try:
            first, second = eager(rows), eager(rows)
        except Exception as error:  # whatever a network raises, it cannot be served
            raise ParityError(f"the generator fails at {where}: {error}") from error
        if not all(np.isfinite(array).all() for array in first.values()):
            raise ParityError(
                f"the generator gives NaN or infinity at {where}: the training diverged; "
                "export an earlier checkpoint"
            )
        again = deviation(first, second)
        if again.max_abs or again.max_levels:
            raise ParityError(
                f"the generator differs from itself on equal inputs by {again.max_abs:.1e} at "
                f"{where}: what it draws inside must become an input (and dropout be in eval mode)"
            )
        trials.append(Trial(where, rows, first))
    check_rows("the generator", eager, case)
    return trials


def check_rows(who: str, run: Run, case: Case) -> Deviation:
    """Each row alone, and beside other neighbours.

    Raises:
        ParityError: a row depends on its neighbours.
    """
    total = Deviation()
    for height, width in case.sizes:
        count = max(BATCHES)
        rows = varied_rows(case.inputs, range(count), height, width)
        strangers = varied_rows(case.inputs, range(_STRANGERS, _STRANGERS + count), height, width)
        together = run(rows)
        for k in range(count):
            total |= deviation(cut(together, k, k + 1), run(cut(rows, k, k + 1)))
        for kept in (np.arange(count) % 2 == 0, np.arange(count) % 2 == 1):
            mixed = {name: _where(kept, rows[name], strangers[name]) for name in rows}
            total |= deviation(_only(together, kept), _only(run(mixed), kept))
    if not total.within:
        raise ParityError(
            f"rows of {who} depend on their neighbours: {total}. Normalise without batch "
            "statistics (eval mode, running averages, or instance or group norm)"
        )
    return total


def check_same(who: str, run: Run, trials: Sequence[Trial]) -> Deviation:
    """An exported graph beside the trained generator, at every batch size.

    Raises:
        ParityError: it is another generator.
    """
    total = Deviation()
    for trial in trials:
        here = deviation(trial.expected, run(trial.rows))
        if here.max_abs > FLOAT_LIMIT or here.max_levels > LEVEL_LIMIT:
            raise ParityError(f"{who} is not the generator at {trial.where}: {here}")
        total |= here
    if not total.within:
        raise ParityError(f"{who} is not the generator: {total}")
    return total


@dataclass(frozen=True)
class Findings:
    """What was measured of one graph, or the worst of several."""

    onnx: Deviation | None  # None: ONNX is what the generator came as
    torchscript: Deviation | None
    rows: Deviation  # of ONNX Runtime, the one that serves

    def __or__(self, other: Findings) -> Findings:
        return Findings(
            _worst(self.onnx, other.onnx),
            _worst(self.torchscript, other.torchscript),
            self.rows | other.rows,
        )

    def record(self) -> Parity:
        """The same for the manifest."""
        both = [one for one in (self.onnx, self.torchscript) if one is not None] or [self.rows]
        return Parity(
            batches=BATCHES,
            onnx_max_abs=self.onnx.max_abs if self.onnx else None,
            torchscript_max_abs=self.torchscript.max_abs if self.torchscript else None,
            max_levels=max(one.max_levels for one in both),
            pixels_differing=max(one.share for one in both),
            row_max_abs=self.rows.max_abs,
        )


def _worst(*measured: Deviation | None) -> Deviation | None:
    known = [one for one in measured if one is not None]
    return functools.reduce(operator.or_, known) if known else None


def measure(
    trials: Sequence[Trial], onnx: Sequence[Run], torchscript: Sequence[Run], case: Case
) -> Findings:
    """Every check of one exported graph.

    Args:
        trials: of the trained generator, with its float pictures.
        onnx: ONNX Runtime on the graph with the float pictures, and on the published one.
        torchscript: likewise; empty when it is left out.
        case: what to try.

    Raises:
        ParityError: something is beyond the limits.
    """
    same, rows = Deviation(), Deviation()
    for run in onnx:
        same |= check_same("ONNX Runtime", run, trials)
        rows |= check_rows("ONNX Runtime", run, case)
    script = Deviation() if torchscript else None
    for run in torchscript:
        assert script is not None
        script |= check_same("TorchScript", run, trials)
        check_rows("TorchScript", run, case)
    return Findings(same, script, rows)
