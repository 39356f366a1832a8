"""The series of several workers as one: values in files, one set of files per worker slot.

A worker that takes the place of a dead one goes on with its counts, so that totals never fall and
the files do not grow in number. Gauges tell of the living alone: the supervisor removes those of a
dead worker before it starts another (``supervisor.vacate``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from prometheus_client import Gauge, values
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

_KINDS = ("counter", "histogram", "gauge_livesum", "gauge_livemax", "gauge_livemin")
_FILE_BYTES = 2**16  # as prometheus_client makes them; they grow


def occupy(folder: Path, slot: int) -> None:
    """Keep every value that this process makes from now on in the files of a slot."""
    for kind in _KINDS:  # whole at once: a reader would stumble over a file without its head
        path = folder / f"{kind}_{slot}.db"
        if not path.exists():
            fresh = path.with_suffix(".new")
            fresh.write_bytes(bytes(_FILE_BYTES))
            fresh.rename(path)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
    (folder / f"{slot}.pid").write_text(str(os.getpid()))


class SlotGauge(Gauge):
    """A gauge in a file: its functions are called by ``refresh``, not by whoever reads it.

    A file cannot forget a series: one that was removed is not a number until it is set again.
    """

    _functions: ClassVar[dict[Gauge, Callable[[], float]]] = {}

    @classmethod
    def refresh(cls) -> None:
        """Set every gauge that has a function."""
        for gauge, function in list(cls._functions.items()):
            gauge.set(function())

    def set_function(self, f: Callable[[], float]) -> None:
        """As ``Gauge`` says, whenever ``refresh`` is called."""
        self._functions[self] = f
        self.set(f())

    def remove(self, *labelvalues: object) -> None:
        """As ``Gauge`` says."""
        child = self.labels(*labelvalues)
        self._functions.pop(child, None)
        child.set(math.nan)


class SlotCollector(MultiProcessCollector):
    """Every worker's series, added up as each says, less those that were removed."""

    def collect(self) -> Iterator[Metric]:
        """As ``Collector`` says."""
        for family in super().collect():  # type: ignore[no-untyped-call]
            family.samples = [each for each in family.samples if not math.isnan(each.value)]
            yield family
