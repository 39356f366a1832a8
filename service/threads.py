"""What this process may compute on: the cores of the machine, less what its container withholds.

ONNX Runtime would take one thread per core of the host; in a container with a quota that means
threads that the kernel stops in the middle of a run.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> int:
    """Whole cores granted by the affinity mask and the cgroup quota, at least 1.

    Args:
        root: of the file system that holds ``proc`` and ``sys``.
    """
    quotas = [*_quotas(root, _groups(root))]
    return max(1, int(min([float(_affinity()), *quotas])))


def cuda_is_likely() -> bool:
    """Whether the GPU's ONNX Runtime and a driver are installed: looked up without loading it."""
    try:
        metadata.distribution("onnxruntime-gpu")
        ctypes.CDLL("libcuda.so.1")
    except (metadata.PackageNotFoundError, OSError):
        return False
    return True


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups(root: Path) -> dict[str, PurePosixPath]:
    """The path of this process by controller; the unified hierarchy (v2) has the empty name."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    groups: dict[str, PurePosixPath] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        groups |= {name: PurePosixPath(path.lstrip("/")) for name in controllers.split(",")}
    return groups


def _quotas(root: Path, groups: dict[str, PurePosixPath]) -> Iterator[float]:
    """Every quota on the way from this process's group up to the root, in cores."""
    mount = root / "sys/fs/cgroup"
    for folder in _ancestors(mount, groups.get("")):
        yield from _parse(_read(folder / "cpu.max").split())
    for folder in _ancestors(mount / "cpu", groups.get("cpu")):
        quota = _read(folder / "cpu.cfs_quota_us").split()
        yield from _parse(quota + _read(folder / "cpu.cfs_period_us").split())


def _ancestors(mount: Path, group: PurePosixPath | None) -> Iterator[Path]:
    """The group's folder and those above it; a container may see only its own, as the mount."""
    for path in [group, *group.parents] if group else [PurePosixPath()]:
        yield mount / path


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _parse(words: list[str]) -> Iterator[float]:
    """``[quota, period]`` as cores; ``max`` and ``-1`` are no limit."""
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
        yield int(words[0]) / int(words[1])
