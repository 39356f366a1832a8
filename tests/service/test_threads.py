"""Cores granted by cgroups of both versions, in file systems that the test makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.threads import usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V2 = "0::/kubepods/pod7/web"
V1 = "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n0::/"
CGROUP = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"proc/self/cgroup": V2}, 8),
        ({"proc/self/cgroup": "0::/", f"{CGROUP}/cpu.max": "200000 100000"}, 2),
        ({"proc/self/cgroup": "0::/", f"{CGROUP}/cpu.max": "max 100000"}, 8),
        ({"proc/self/cgroup": V2, f"{CGROUP}/kubepods/pod7/web/cpu.max": "150000 100000"}, 1),
        ({"proc/self/cgroup": V2, f"{CGROUP}/kubepods/pod7/web/cpu.max": "50000 100000"}, 1),
        (
            {
                "proc/self/cgroup": V2,
                f"{CGROUP}/kubepods/pod7/web/cpu.max": "600000 100000",
                f"{CGROUP}/kubepods/pod7/cpu.max": "300000 100000",
                f"{CGROUP}/kubepods/cpu.max": "max 100000",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": V1,
                f"{CGROUP}/cpu/docker/ab/cpu.cfs_quota_us": "400000",
                f"{CGROUP}/cpu/docker/ab/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (  # inside a container the mount shows the container's own group as its root
            {
                "proc/self/cgroup": V1,
                f"{CGROUP}/cpu/cpu.cfs_quota_us": "250000",
                f"{CGROUP}/cpu/cpu.cfs_period_us": "100000",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": V1,
                f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1",
                f"{CGROUP}/cpu/cpu.cfs_period_us": "100000",
            },
            8,
        ),
        ({"proc/self/cgroup": "0::/", f"{CGROUP}/cpu.max": "9900000 100000"}, 8),
        ({"proc/self/cgroup": "0::/", f"{CGROUP}/cpu.max": "100 0"}, 8),
    ],
)
def test_cores_are_the_least_of_affinity_and_quotas(
    files: dict[str, str], cores: int, tmp_path: Path
) -> None:
    assert usable_cores(write(tmp_path, files)) == cores


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    assert usable_cores(tmp_path) == 1


def test_platforms_without_affinity_count_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cores(tmp_path) == 5


def test_this_machine_grants_at_least_one_core() -> None:
    assert usable_cores() >= 1
