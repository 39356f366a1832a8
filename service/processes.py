"""The process series of a supervisor and its workers as one, where the system has /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_LOOKS = 5  # each spoilt by a process that ended meanwhile


class Processes(Collector):
    """``process_*`` summed over the processes; the start is the supervisor's.

    The kernel adds the CPU time of a worker that has ended to what its parent has waited for, so
    that the sum never falls.

    Args:
        folder: where each worker leaves its process id, in ``<slot>.pid``.
        supervisor: its process id.
    """

    def __init__(self, folder: Path, supervisor: int) -> None:
        self._folder, self._supervisor = folder, supervisor

    def collect(self) -> Iterable[Metric]:
        """As ``Collector`` says."""
        for _ in range(_LOOKS):
            try:
                return self._look()
            except OSError:
                continue
        return []

    def _look(self) -> list[Metric]:
        """One look at every process, the supervisor first: whatever it waits for later fails."""
        workers = [pid for path in self._folder.glob("*.pid") if (pid := path.read_text())]
        living = [pid for pid in workers if Path("/proc", pid).is_dir()]
        ended_s = _waited_for_s(self._supervisor)
        families: dict[str, Metric] = {}
        for pid in [str(self._supervisor), *living]:
            told = {each.name: each for each in _collect(pid)}
            if not told:
                raise ProcessLookupError(pid)
            for name, family in told.items():
                before = families.setdefault(name, family)
                if before is not family and name != "process_start_time_seconds":
                    _add(before, family.samples[0].value)
        _add(families["process_cpu_seconds"], ended_s)
        return list(families.values())


def _collect(pid: str) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _add(family: Metric, value: float) -> None:
    [sample] = family.samples
    family.samples = [Sample(sample.name, sample.labels, sample.value + value)]


def _waited_for_s(pid: int) -> float:
    """The CPU time of the children that ended and were waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
