"""Token buckets: what a limit allows, and that all workers of a service share them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import InvalidSetting
from service.limits import Buckets, Limit

if sys.platform == "win32":
    pytest.skip("Windows has no record locks", allow_module_level=True)

import fcntl

ROOT = Path(__file__).resolve().parents[2]
SECOND = 10**9
ONE, OTHER = b"1" * 32, b"2" * 32
RECORD_BYTES = 40
MOMENT_AT = 32


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self, now_ns: int = 10**15) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def allowed(buckets: Buckets, limit: Limit, tries: int, digest: bytes = ONE) -> int:
    return sum(not buckets.take(digest, limit).refused_for_ns for _ in range(tries))


# --- One worker. ---


def test_a_burst_is_allowed_and_no_more(clock: Clock) -> None:
    buckets, limit = Buckets(clock_ns=clock), Limit(per_minute=60, burst=3)
    states = [buckets.take(ONE, limit) for _ in range(4)]
    assert [state.remaining for state in states] == [2, 1, 0, 0]
    assert [state.refused_for_ns for state in states] == [0, 0, 0, SECOND]


def test_time_alone_fills_the_bucket_and_not_past_its_brim(clock: Clock) -> None:
    buckets, limit = Buckets(clock_ns=clock), Limit(per_minute=60, burst=3)
    assert allowed(buckets, limit, 5) == 3
    clock.now_ns += SECOND - 1
    refused = buckets.take(ONE, limit)
    assert refused.refused_for_ns == 1  # and not more for having asked in vain
    clock.now_ns += 1
    assert allowed(buckets, limit, 2) == 1
    clock.now_ns += 3600 * SECOND
    assert allowed(buckets, limit, 5) == 3


def test_each_key_has_its_own_bucket(clock: Clock) -> None:
    buckets, limit = Buckets(clock_ns=clock), Limit(per_minute=60, burst=1)
    assert allowed(buckets, limit, 2, ONE) == 1
    assert allowed(buckets, limit, 2, OTHER) == 1


def test_the_headers_say_what_is_left_and_when_all_is_back(clock: Clock) -> None:
    buckets, limit = Buckets(clock_ns=clock), Limit(per_minute=90, burst=4)
    assert limit.policy == '"key";q=4;w=3'
    assert buckets.take(ONE, limit).state == '"key";r=3;t=1'  # 0.67 s, rounded up
    assert buckets.take(ONE, limit).state == '"key";r=2;t=2'


def test_a_limit_that_is_lowered_holds_at_once(clock: Clock) -> None:
    buckets = Buckets(clock_ns=clock)
    assert allowed(buckets, Limit(per_minute=60, burst=100), 100) == 100
    lower = Limit(per_minute=60, burst=2)
    assert buckets.take(ONE, lower).refused_for_ns == SECOND  # and not for 99 seconds
    clock.now_ns += 2 * SECOND
    assert allowed(buckets, lower, 3) == 2


@given(
    st.integers(1, 600),
    st.integers(1, 20),
    st.lists(st.integers(0, 3 * SECOND), min_size=1, max_size=60),
)
def test_no_stretch_of_time_allows_more_than_the_limit(
    per_minute: int, burst: int, waits_ns: list[int]
) -> None:
    clock, limit = Clock(), Limit(per_minute=per_minute, burst=burst)
    buckets = Buckets(clock_ns=clock)
    moments = []
    for wait_ns in waits_ns:
        clock.now_ns += wait_ns
        if not buckets.take(ONE, limit).refused_for_ns:
            moments.append(clock.now_ns)
    for first in range(len(moments)):
        for last in range(first, len(moments)):
            stretch_ns = moments[last] - moments[first]
            assert last - first + 1 <= burst + stretch_ns // limit.interval_ns


# --- The file. ---


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    Buckets(tmp_path / "limits")
    assert (tmp_path / "limits").stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "limits").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidSetting, match="set GANYMEDE_RUNTIME_FOLDER to a folder"):
        Buckets(tmp_path / "limits")
    assert not (tmp_path / "elsewhere").exists()


def test_a_bucket_outlives_the_worker_that_filled_it(tmp_path: Path, clock: Clock) -> None:
    limit = Limit(per_minute=60, burst=3)
    assert allowed(Buckets(tmp_path / "limits", clock), limit, 2) == 2
    assert allowed(Buckets(tmp_path / "limits", clock), limit, 5) == 1
    assert (tmp_path / "limits").stat().st_size == RECORD_BYTES


def test_a_file_from_before_the_machine_started_does_not_lock_anybody_out(tmp_path: Path) -> None:
    limit = Limit(per_minute=60, burst=3)
    assert allowed(Buckets(tmp_path / "limits", Clock(10**18)), limit, 3) == 3
    clock = Clock(5)
    buckets = Buckets(tmp_path / "limits", clock)
    assert buckets.take(ONE, limit).refused_for_ns == SECOND
    clock.now_ns += 3 * SECOND
    assert allowed(buckets, limit, 5) == 3


def test_half_a_record_at_the_end_is_written_over(tmp_path: Path, clock: Clock) -> None:
    limit = Limit(per_minute=60, burst=1)
    assert allowed(Buckets(tmp_path / "limits", clock), limit, 2, ONE) == 1
    with (tmp_path / "limits").open("ab") as file:
        file.write(b"torn")
    assert allowed(Buckets(tmp_path / "limits", clock), limit, 2, OTHER) == 1
    assert allowed(Buckets(tmp_path / "limits", clock), limit, 1, ONE) == 0


# --- Several workers: real processes. ---

WORKER = """
import sys
from pathlib import Path
from service.limits import Buckets, Limit

buckets = Buckets(Path(sys.argv[1]), lambda: 10**15)
limit = Limit(per_minute=60, burst=int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
taken = 0
while not buckets.take(b"1" * 32, limit).refused_for_ns:
    taken += 1
print(taken)
"""
HOLDER = """
import sys
from pathlib import Path
from service.limits import Buckets, Limit

def clock():  # asked between reading the bucket's moment and writing it
    print("inside", flush=True)
    sys.stdin.readline()
    return 10**15

Buckets(Path(sys.argv[1]), clock).take(b"1" * 32, Limit(per_minute=60, burst=1))
"""


def worker(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_workers_at_once_take_no_token_twice_and_lose_none(tmp_path: Path) -> None:
    burst = 20_000
    with (
        worker(WORKER, tmp_path / "limits", str(burst)) as one,
        worker(WORKER, tmp_path / "limits", str(burst)) as other,
    ):
        for each in (one, other):
            assert each.stdout
            assert each.stdout.readline() == "ready\n"
        for each in (one, other):
            assert each.stdin
            each.stdin.write("go\n")
            each.stdin.flush()
        taken = [int(each.communicate()[0]) for each in (one, other)]
    assert sum(taken) == burst
    assert (tmp_path / "limits").stat().st_size == RECORD_BYTES


def try_lock(path: Path, start: int) -> None:
    """Raise BlockingIOError where another process holds a bucket."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 8, start)
    finally:
        os.close(descriptor)


def test_a_bucket_is_held_while_it_is_changed_and_no_other_is(tmp_path: Path) -> None:
    path, limit = tmp_path / "limits", Limit(per_minute=60, burst=1)
    buckets = Buckets(path, Clock())
    assert allowed(buckets, limit, 1, OTHER) == 1
    with worker(HOLDER, path) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "inside\n"
        with pytest.raises(BlockingIOError):
            try_lock(path, RECORD_BYTES + MOMENT_AT)
        try_lock(path, MOMENT_AT)
        assert allowed(buckets, limit, 1, OTHER) == 0  # answered while the first is held
        holder.communicate("go on\n")
    assert holder.returncode == 0
    assert allowed(buckets, limit, 1, ONE) == 0  # the token went to the other worker


def test_a_worker_that_is_killed_leaves_its_bucket_free(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    with worker(HOLDER, path) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "inside\n"
        holder.kill()
    assert allowed(Buckets(path, Clock()), Limit(per_minute=60, burst=1), 2) == 1
