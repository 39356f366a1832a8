"""The cache of decoded pictures: once per content, whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.training.data import odd
from tests.training.data.odd import fill
from training.data import cache as caching
from training.data import load, pixels, pool
from training.data.dataset import Images
from training.data.decode import decode
from training.errors import DataError

COUNT = 120


@pytest.fixture
def source(tmp_path: Path) -> Path:
    files = {f"{k % 2}/{k:03}.png": odd.plain((k, 255 - k, 9)) for k in range(COUNT)}
    return fill(tmp_path / "set", files)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for every picture that is really decoded."""
    calls: list[int] = []
    real = decode

    def counted(content: bytes, size: int, *, halves: bool) -> Images:
        calls.append(size)
        return real(content, size, halves=halves)

    monkeypatch.setattr(pixels, "decode", counted)
    return calls


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "images").iterdir())


def test_images_are_a_read_only_memory_map(source: Path) -> None:
    data = load(source, size=8)
    assert isinstance(data.images, np.memmap)
    assert not data.images.flags.writeable
    assert data.images.shape == (COUNT, 8, 8, 3)
    order = [*range(0, COUNT, 2), *range(1, COUNT, 2)]
    assert data.images[:, 0, 0, 0].tolist() == order


def test_pictures_are_decoded_once(source: Path, decoded: list[int]) -> None:
    first = load(source, size=8)
    second = load(source, size=8)
    assert len(decoded) == COUNT
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(second.images, first.images)


def test_a_renamed_set_is_found_again(source: Path, decoded: list[int]) -> None:
    load(source, size=8)
    renamed = source.rename(source.with_name("other"))
    (renamed / "1").rename(renamed / "2")
    assert load(renamed, size=8).classes == ("0", "2")
    assert len(decoded) == COUNT


def test_another_content_size_or_depth_is_decoded_anew(source: Path, decoded: list[int]) -> None:
    first = load(source, size=8)
    status = (source / "0" / "000.png").stat()
    (source / "0" / "000.png").write_bytes(odd.plain((7, 7, 7)))
    os.utime(source / "0" / "000.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    second = load(source, size=8)
    assert second.images[0, 0, 0].tolist() == [7, 7, 7]
    assert second.fingerprint != first.fingerprint
    load(source, size=9)
    load(source, size=8, channels=1)
    assert len(decoded) == 4 * COUNT


def test_a_damaged_cache_is_made_again(source: Path, cache: Path, decoded: list[int]) -> None:
    first = load(source, size=8).fingerprint
    [home] = (cache / "images").iterdir()
    (home / "pixels").write_bytes(b"short")
    assert load(source, size=8).fingerprint == first
    (home / "index.json").unlink()
    assert load(source, size=8).fingerprint == first
    assert len(decoded) == 3 * COUNT


def test_an_interrupted_decoding_leaves_nothing_behind(source: Path, cache: Path) -> None:
    def interrupt(step: str, done: int, total: int) -> None:
        if step == "decoding":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(source, size=8, progress=interrupt)
    assert entries(cache) == []
    assert len(load(source, size=8)) == COUNT


def test_what_a_killed_run_left_is_never_used_and_swept_when_old(source: Path, cache: Path) -> None:
    (cache / "images").mkdir()
    old, young = (cache / "images" / f"{caching.PARTIAL}{age}" for age in ("old", "young"))
    for partial in (old, young):
        partial.mkdir()
        (partial / "pixels").write_bytes(b"half")
    os.utime(old, (0, 0))
    assert len(load(source, size=8)) == COUNT
    assert not old.exists()
    assert young.exists()


def test_two_processes_that_decode_the_same_agree(source: Path, cache: Path) -> None:
    def other_process(step: str, done: int, total: int) -> None:
        if step == "decoding" and done == total:
            load(source, size=8)

    data = load(source, size=8, progress=other_process)
    assert len(entries(cache)) == 1
    assert data.fingerprint == load(source, size=8).fingerprint


def test_a_cache_that_cannot_be_written_says_so(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="GANYMEDE_CACHE"):
        load(source, size=8, cache=tmp_path / "file")


def test_a_file_that_changes_while_it_is_read_is_no_poison(source: Path, cache: Path) -> None:
    def change(step: str, done: int, total: int) -> None:
        if step == "reading" and done == total:
            (source / "0" / "000.png").write_bytes(odd.plain((7, 7, 7)))

    with pytest.raises(DataError, match=r"0/000\.png changed while it was being read"):
        load(source, size=8, progress=change)
    assert entries(cache) == []


def test_progress_ends_at_the_whole(source: Path) -> None:
    reports: dict[str, list[int]] = {}

    def note(step: str, done: int, total: int) -> None:
        assert total == COUNT
        reports.setdefault(step, []).append(done)

    load(source, size=8, progress=note)
    assert list(reports) == ["reading", "decoding"]
    for done in reports.values():
        assert done == sorted(done)
        assert done[-1] == COUNT


def test_few_pictures_are_in_flight() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for k in range(10_000):
            taken += 1
            yield k

    results = pool.in_order(lambda k: k, items())
    assert next(results) == 0
    assert taken <= pool.IN_FLIGHT
    results.close()
    assert taken <= pool.IN_FLIGHT


def test_results_keep_the_order_of_the_items() -> None:
    later = threading.Event()

    def work(k: int) -> int:
        if k == 0:
            later.wait(timeout=10)
        else:
            later.set()
        return k

    assert list(pool.in_order(work, range(50))) == list(range(50))
