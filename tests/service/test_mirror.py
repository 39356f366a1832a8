"""Bundles at URLs: copied whole or not at all, followed, and kept while the URL is away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import pytest

from export.bundle import MANIFEST, load_bundle
from service import mirror as mirror_module
from service.config import InvalidSetting, ServiceConfig, load_config
from service.copies import KEPT_S, Copies, copies_folder
from service.metrics import Metrics
from service.mirror import Mirror
from service.remote import Remote, Unreadable
from service.repository import Repository
from service.sources import open_sources
from tests.tiny import ONNX, tiny_bundle

URL = "memory://bucket/models"
FILES = fsspec.filesystem("memory")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def store() -> Iterator[None]:
    """An empty store, before and after."""
    FILES.store.clear()
    FILES.pseudo_dirs[:] = [""]
    yield
    FILES.store.clear()


def upload(folder: Path, *, name: str = "tiny", version: int = 1, salt: int = 0) -> str:
    """Put a bundle into the store; return ``<name>/<version>``."""
    key = f"{name}/{version}"
    bundle = tiny_bundle(folder / str(salt), name=name, version=version, salt=salt)
    for file in bundle.path.iterdir():
        FILES.pipe(f"/bucket/models/{key}/{file.name}", file.read_bytes())
    return key


def mirrored(folder: Path, remote: Remote | None = None, limit_bytes: int = 2**30) -> Mirror:
    copies = Copies(folder / "cache" / "bucket")
    copies.folder.mkdir(parents=True, exist_ok=True)
    return Mirror(remote or Remote(URL), copies, watch_s=30, limit_bytes=limit_bytes)


def look(mirror: Mirror) -> tuple[list[str], list[str]]:
    """What there is after a look at the URL: ``name/version`` of whole bundles, and the faults."""
    mirror.follow(since_s=time.time(), first=True)
    paths, failures = mirror.look()
    bundles = [load_bundle(path).manifest for path in paths]
    return [f"{each.name}/{each.version}" for each in bundles], [str(each) for each in failures]


class Counting(Remote):
    """Counts what is read, and can be away."""

    def __init__(self) -> None:
        super().__init__(URL)
        self.read_paths: list[str] = []
        self.away = False

    def keys(self) -> list[str]:
        if self.away:
            raise Unreadable("it cannot be listed (TimeoutError: no answer)")
        return super().keys()

    def read(self, path: str, limit_bytes: int) -> Iterator[bytes]:
        self.read_paths.append(path)
        return super().read(path, limit_bytes)


# --- Copying. ---


def test_every_bundle_is_copied_once(tmp_path: Path) -> None:
    keys = [upload(tmp_path, version=1), upload(tmp_path, name="other", version=12)]
    FILES.pipe("/bucket/models/README.md", b"not a model")
    FILES.pipe("/bucket/models/Upper/1/manifest.json", b"not a name")
    FILES.pipe("/bucket/models/half/1/generate.onnx", b"no manifest yet")
    remote = Counting()
    mirror = mirrored(tmp_path, remote)
    for _ in range(2):
        found, faults = look(mirror)
        assert (sorted(found), faults) == (sorted(keys), [])
    assert sorted(remote.read_paths) == sorted(f"{key}/{ONNX}" for key in keys)


def test_what_changes_at_the_url_is_followed_and_what_goes_is_dropped(tmp_path: Path) -> None:
    first, second = upload(tmp_path, version=1), upload(tmp_path, version=2)
    mirror = mirrored(tmp_path)
    assert look(mirror)[0] == [first, second]
    [before, _] = mirror.look()[0]
    upload(tmp_path, version=1, salt=1)
    FILES.rm("/bucket/models/tiny/2", recursive=True)
    assert look(mirror) == ([first], [])
    [after] = mirror.look()[0]
    assert after != before
    assert load_bundle(before).digest != load_bundle(after).digest  # who reads it still can


@pytest.mark.parametrize("content", [b"short", b"x" * 10_000_000])
def test_a_file_that_is_not_the_manifests_is_not_served(content: bytes, tmp_path: Path) -> None:
    key = upload(tmp_path)
    mirror = mirrored(tmp_path)
    look(mirror)
    upload(tmp_path, salt=1)
    FILES.pipe(f"/bucket/models/{key}/{ONNX}", content)
    found, [fault] = look(mirror)
    assert found == [key]  # the version before
    assert fault.startswith(f"{URL}/{key}: {URL}/{key}/{ONNX} is not the file that was exported")
    assert "what was copied before goes on serving" in fault
    assert [each.name for each in (tmp_path / "cache" / "bucket").glob("partial-*")] == []


def test_no_more_is_read_than_the_manifest_says(tmp_path: Path) -> None:
    key = upload(tmp_path)
    size_bytes = len(FILES.cat(f"/bucket/models/{key}/{ONNX}"))
    FILES.pipe(f"/bucket/models/{key}/{ONNX}", b"x" * 5_000_000)
    chunks = list(Remote(URL).read(f"{key}/{ONNX}", size_bytes + 1))
    assert sum(map(len, chunks)) == size_bytes + 1


def rename_file(key: str, name: str) -> None:
    """Let the manifest list a file under another name."""
    path = f"/bucket/models/{key}/{MANIFEST}"
    FILES.pipe(path, FILES.cat(path).replace(ONNX.encode(), name.encode()))


def spoil(key: str, **changes: Any) -> None:  # noqa: ANN401
    path = f"/bucket/models/{key}/{MANIFEST}"
    FILES.pipe(path, json.dumps(json.loads(FILES.cat(path)) | changes).encode())


@pytest.mark.parametrize("name", ["../../../outside.onnx", "/outside.onnx", "a/../../b.onnx"])
def test_a_file_name_cannot_leave_the_folder(name: str, tmp_path: Path) -> None:
    key = upload(tmp_path)
    FILES.pipe("/bucket/models/outside.onnx", b"read")
    rename_file(key, name)
    remote = Counting()
    found, [fault] = look(mirrored(tmp_path, remote))
    assert (found, remote.read_paths) == ([], [])
    assert "must be a plain path inside the bundle's folder" in fault
    assert list(tmp_path.rglob("outside.onnx")) == []


def test_a_manifest_that_is_of_no_use_is_told_and_takes_nothing_down(tmp_path: Path) -> None:
    whole, moved = upload(tmp_path), upload(tmp_path, name="moved")
    spoil(moved, name="elsewhere")
    large, wrong = upload(tmp_path, name="large"), upload(tmp_path, name="wrong")
    FILES.pipe(f"/bucket/models/{large}/{MANIFEST}", b" " * (4 * 2**20 + 1))
    spoil(wrong, opset="new")
    over, gone = upload(tmp_path, name="over"), upload(tmp_path, name="gone")
    rename_file(over, MANIFEST)
    FILES.rm(f"/bucket/models/{gone}/{ONNX}")
    found, faults = look(mirrored(tmp_path))
    assert found == [whole]
    told = dict(fault.removeprefix(f"{URL}/").split(": ", 1) for fault in faults)
    assert told.keys() == {moved, large, wrong, over, gone}
    assert told[moved] == "its manifest says elsewhere/1: upload it there"
    assert "more than 4194304 bytes" in told[large]
    assert f"{URL}/{wrong}/{MANIFEST}: opset" in told[wrong]
    assert "File exists" in told[over]
    assert told[gone] == f"{gone}/{ONNX} is missing: upload it again"
    assert not any(str(tmp_path) in fault for fault in faults)


def test_copies_do_not_outgrow_the_cache(tmp_path: Path) -> None:
    small = upload(tmp_path)
    limit_bytes = 2 * len(FILES.cat(f"/bucket/models/{small}/{ONNX}"))
    upload(tmp_path, version=2)
    found, [fault] = look(mirrored(tmp_path, limit_bytes=limit_bytes))
    assert found == [small]
    assert "raise GANYMEDE_REMOTE_CACHE_BYTES" in fault


def test_what_is_listed_no_more_is_kept_for_a_while_and_then_removed(tmp_path: Path) -> None:
    upload(tmp_path)
    mirror = mirrored(tmp_path)
    look(mirror)
    [old] = mirror.look()[0]
    upload(tmp_path, salt=1)
    look(mirror)
    look(mirror)
    assert old.is_dir()
    longer_ago_s = time.time() - KEPT_S - 1
    os.utime(old.parents[1], (longer_ago_s, longer_ago_s))
    (tmp_path / "cache" / "bucket" / "partial-left").mkdir()
    look(mirror)
    assert not old.exists()
    [new] = mirror.look()[0]
    assert {each.name for each in (tmp_path / "cache" / "bucket").iterdir()} == {
        "lock",
        "listing.json",
        new.parents[1].name,
    }


def test_a_copy_that_was_damaged_is_made_anew_at_the_start(tmp_path: Path) -> None:
    key = upload(tmp_path)
    mirror = mirrored(tmp_path)
    look(mirror)
    [copy] = mirror.look()[0]
    (copy / ONNX).write_bytes(b"rot")
    assert look(mirrored(tmp_path)) == ([key], [])


# --- Being away. ---


def test_a_url_that_is_away_leaves_what_there_is_and_says_why(tmp_path: Path) -> None:
    key = upload(tmp_path)
    remote = Counting()
    mirror = mirrored(tmp_path, remote)
    look(mirror)
    remote.away = True
    found, [fault] = look(mirror)
    assert found == [key]
    assert fault == (
        f"{URL}: it cannot be listed (TimeoutError: no answer); what was copied before goes on "
        "serving"
    )
    assert look(mirrored(tmp_path, remote))[0] == [key]  # started anew
    remote.away = False
    assert look(mirror) == ([key], [])


def test_nothing_at_the_url_is_told_and_takes_nothing_down(tmp_path: Path) -> None:
    key = upload(tmp_path)
    mirror = mirrored(tmp_path)
    look(mirror)
    FILES.rm("/bucket", recursive=True)
    found, [fault] = look(mirror)
    assert found == [key]
    assert "there is nothing at this URL" in fault


def test_what_could_not_be_copied_is_tried_again_less_and_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "time", lambda: now_s)
    key = upload(tmp_path)
    whole = FILES.cat(f"/bucket/models/{key}/{ONNX}")
    FILES.pipe(f"/bucket/models/{key}/{ONNX}", b"half")
    remote = Counting()
    mirror = mirrored(tmp_path, remote)
    tried_s = []
    while now_s < 1300:
        before = len(remote.read_paths)
        mirror.follow(since_s=now_s)
        if len(remote.read_paths) > before:
            tried_s.append(now_s)
        now_s += 30
    assert tried_s == [1000, 1030, 1090, 1210]
    FILES.pipe(f"/bucket/models/{key}/{ONNX}", whole)
    assert look(mirror) == ([key], [])  # a process that starts does not wait


# --- Several processes. ---


def test_two_processes_do_not_copy_the_same_twice(tmp_path: Path) -> None:
    key = upload(tmp_path)
    copying, go_on = threading.Event(), threading.Event()

    class Slow(Counting):
        def read(self, path: str, limit_bytes: int) -> Iterator[bytes]:
            copying.set()
            assert go_on.wait(30)
            return super().read(path, limit_bytes)

    slow, other = Slow(), Counting()
    since_s = time.time()
    one = threading.Thread(target=mirrored(tmp_path, slow).follow, args=(since_s,))
    one.start()
    assert copying.wait(30)
    second = mirrored(tmp_path, other)
    second.follow(since_s)  # does not wait for the lock, as it is not its first look
    assert second.look() == ([], [])  # what is half copied is not seen
    waiting = threading.Thread(target=second.follow, args=(since_s,), kwargs={"first": True})
    waiting.start()
    go_on.set()
    for each in (one, waiting):
        each.join(30)
    [path] = second.look()[0]
    assert f"{path.parent.name}/{path.name}" == key
    assert (len(slow.read_paths), other.read_paths) == (1, [])


def test_one_look_does_for_all_processes(tmp_path: Path) -> None:
    upload(tmp_path)
    mirrored(tmp_path).follow(since_s=time.time(), first=True)
    absent = Counting()
    absent.away = True
    mirror = mirrored(tmp_path, absent)
    mirror.follow(since_s=time.time() - 10)
    assert mirror.look()[1] == []
    mirror.follow(since_s=time.time())
    assert len(mirror.look()[1]) == 1


def test_a_service_that_ends_leaves_what_it_was_copying(tmp_path: Path) -> None:
    upload(tmp_path)
    copying, go_on = threading.Event(), threading.Event()

    class Slow(Counting):
        def read(self, path: str, limit_bytes: int) -> Iterator[bytes]:
            copying.set()
            assert go_on.wait(30)
            return super().read(path, limit_bytes)

    mirror = mirrored(tmp_path, Slow())
    thread = threading.Thread(target=mirror._run)
    thread.start()
    assert copying.wait(30)
    mirror.close()
    go_on.set()
    thread.join(30)
    assert not thread.is_alive()
    assert mirror.look() == ([], [])  # and no fault is told to those who go on
    assert [each.name for each in (tmp_path / "cache" / "bucket").iterdir()] == ["lock"]


# --- The service. ---


def settings(tmp_path: Path, **others: Any) -> ServiceConfig:  # noqa: ANN401
    fast = {"lanes": 1, "threads": 1, "max_batch_rows": 2, "watch_s": 0, "remote_watch_s": 0}
    return ServiceConfig(**{"models": (URL,), "remote_cache": tmp_path / "cache", **fast, **others})


@pytest.mark.anyio
async def test_models_at_urls_serve_beside_those_of_folders_and_the_first_wins(
    tmp_path: Path,
) -> None:
    upload(tmp_path, version=2)
    tiny_bundle(tmp_path / "folder", version=1)
    tiny_bundle(tmp_path / "folder", version=2, salt=1)
    config = settings(tmp_path, models=(URL, tmp_path / "folder", "memory://bucket/none"))
    repository = Repository(config, Metrics())
    try:
        await repository.start()
        assert [model.manifest.version for model in repository.models()] == [1, 2]
        served = repository.get("tiny", 2)
        assert served.bundle.path.is_relative_to(copies_folder(URL, tmp_path / "cache"))
        assert {str(failure.path) for failure in repository.failures} == {
            "memory://bucket/none",
            str(tmp_path / "folder" / "tiny" / "2"),  # hidden
        }
    finally:
        await repository.close()


@pytest.mark.anyio
async def test_a_new_version_at_the_url_comes_to_serve(tmp_path: Path) -> None:
    upload(tmp_path, version=1)
    config = settings(tmp_path)
    repository = Repository(config, Metrics())
    try:
        await repository.start()
        upload(tmp_path, version=2)
        look(Mirror(Remote(URL), Copies(copies_folder(URL, config.remote_cache)), 0, 2**30))
        await repository.refresh()
        assert repository.get("tiny").manifest.version == 2
    finally:
        await repository.close()


@pytest.mark.anyio
async def test_it_looks_again_and_ends_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = threading.Semaphore(0)
    ended = threading.Event()

    class Told(Mirror):
        def follow(self, since_s: float, *, first: bool = False) -> None:
            looks.release()
            if first:
                raise OSError("the cache is full")  # the next look may succeed

        def _run(self) -> None:
            super()._run()
            ended.set()

    mirror = Told(Remote(URL), Copies(tmp_path), watch_s=0.001, limit_bytes=2**30)
    with closing(mirror):
        await mirror.start()
        assert [looks.acquire(timeout=30) for _ in range(3)] == [True] * 3
    assert ended.wait(30)


@pytest.mark.anyio
async def test_a_store_that_is_slow_is_not_waited_for_where_there_are_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "PATIENCE_S", 0.0)
    key = upload(tmp_path)
    look(mirrored(tmp_path))
    answer = threading.Event()

    class Slow(Counting):
        def keys(self) -> list[str]:
            assert answer.wait(30)
            return super().keys()

    with closing(mirrored(tmp_path, Slow())) as mirror:
        await mirror.start()
        [path] = mirror.look()[0]
        assert f"{path.parent.name}/{path.name}" == key
        answer.set()


@pytest.mark.parametrize(
    ("url", "says"),
    [("nope://bucket/models", "Protocol not known: nope"), ("abfs://bucket", "adlfs")],
)
def test_a_url_that_cannot_be_used_stops_the_start(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=says):
        open_sources(settings(tmp_path, models=(url,)))


def test_a_cache_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InvalidSetting, match="set GANYMEDE_REMOTE_CACHE to a folder"):
        open_sources(settings(tmp_path))


def test_without_the_extra_a_url_is_refused_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setattr("service.notation.find_spec", lambda name: None if name == "s3fs" else name)
    monkeypatch.setenv("GANYMEDE_MODELS", "s3://bucket/models")
    with pytest.raises(InvalidSetting) as refusal:
        load_config()
    assert str(refusal.value).startswith("GANYMEDE_MODELS=")
    assert "needs s3fs: pip install -e '.[remote]' in the checkout" in str(refusal.value)


def test_without_a_url_nothing_of_the_extra_is_imported() -> None:
    program = """
import sys
sys.modules.update(dict.fromkeys(("fsspec", "platformdirs", "s3fs", "gcsfs")))
from service.config import load_config
from service.repository import Repository
from service.sources import open_sources
open_sources(load_config())
assert "service.mirror" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
