"""The keys file, and whose a key is: kept well, read again when it changes, told to nobody."""

from __future__ import annotations

import hmac
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

import ganymede
from service import keyring as keyring_module
from service.keyring import LONGEST_BYTES, Keyring
from service.keys import (
    FILE_LIMIT_BYTES,
    PREFIX,
    KeyScope,
    KeysError,
    create_key,
    read_keys,
    revoke_key,
)
from service.limits import Buckets, Limit
from service.metrics import Metrics

USE = (KeyScope.USE,)


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def make(path: Path, name: str = "app") -> bytes:
    return create_key(path, name, USE, None, None).encode("ascii")


def opened(path: Path, clock: Clock | None = None, metrics: Metrics | None = None) -> Keyring:
    return Keyring(path, metrics or Metrics(), Buckets(), clock or Clock())


def stale(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("ganymede_keys_stale")


# --- The file. ---


def test_a_key_is_long_and_random_and_only_its_digest_is_kept(path: Path) -> None:
    secrets = [make(path, f"app{number}") for number in range(3)]
    assert len(set(secrets)) == 3
    for secret in secrets:
        assert secret.startswith(PREFIX.encode())
        assert len(secret) == len(PREFIX) + 43  # 256 bits in base64
        assert secret.removeprefix(PREFIX.encode()) not in path.read_bytes()
    assert [key.sha256 for key in read_keys(path)] == [sha256(each).hexdigest() for each in secrets]


def test_what_is_created_is_read(path: Path) -> None:
    limit = Limit(per_minute=60, burst=5)
    before = datetime.now(UTC).replace(microsecond=0)
    create_key(path, "ops", (KeyScope.USE, KeyScope.ADMIN), limit, timedelta(days=2))
    (key,) = read_keys(path)
    assert (key.name, key.scopes, key.limit) == ("ops", ("use", "admin"), limit)
    assert before <= key.created <= datetime.now(UTC)
    assert key.expires == key.created + timedelta(days=2)


def test_the_file_is_for_its_owner_alone_and_nothing_lies_beside_it(path: Path) -> None:
    make(path, "one")
    path.chmod(0o644)
    make(path, "two")
    revoke_key(path, "one")
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("service.keys.os.fsync", full)
    with pytest.raises(KeysError, match=r"keys\.json cannot be written: No space left on device"):
        make(path, "other")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_link_to_the_file_stays_one(path: Path) -> None:
    link = path.with_name("link.json")
    link.symlink_to(path)
    make(link)
    assert link.is_symlink()
    assert len(read_keys(path)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_keys_made_at_once_are_all_kept(path: Path) -> None:
    names = [f"app{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: make(path, name), names))
    assert sorted(key.name for key in read_keys(path)) == sorted(names)


def test_a_name_is_used_once(path: Path) -> None:
    make(path)
    with pytest.raises(KeysError, match="there is a key 'app' already: revoke it"):
        make(path)


def test_a_file_does_not_grow_past_what_is_read(path: Path) -> None:
    make(path)
    before = path.read_bytes()
    path.write_bytes(before + b" " * (FILE_LIMIT_BYTES - len(before)))
    make(path, "other")  # written anew, it is short
    assert len(read_keys(path)) == 2


def test_a_key_too_many_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path)
    monkeypatch.setattr("service.keys.FILE_LIMIT_BYTES", path.stat().st_size + 1)
    with pytest.raises(KeysError, match="revoke"):
        make(path, "other")
    assert len(read_keys(path)) == 1


@pytest.mark.parametrize("name", ["", "a b", "a\n", '"', ".", "-x", "ключ", "a" * 65])
def test_a_name_is_harmless_in_a_log_and_a_header(path: Path, name: str) -> None:
    with pytest.raises(KeysError, match="is no name of a key: use"):
        make(path, name)
    assert not path.exists()


def test_an_unknown_name_is_told_with_those_there_are(path: Path) -> None:
    make(path)
    with pytest.raises(KeysError, match="there is no key 'other': those there are: app"):
        revoke_key(path, "other")
    assert len(read_keys(path)) == 1


def document(**changes: object) -> str:
    key = {"name": "app", "sha256": "0" * 64, "scopes": ["use"], "created": "2026-01-01T00:00:00Z"}
    return json.dumps({"keys": [key | changes]})


SECRET = PREFIX + "x" * 43
DAMAGED = [
    "",
    "{",
    "[]",
    document()[:-5],
    '{"schema_version": 2}',
    document(sha256=SECRET),  # the key where its digest belongs
    document(sha256="F" * 64),
    document(key=SECRET),
    document(name=f"{SECRET}\n"),
    document(scopes=[]),
    document(scopes=["root"]),
    document(scopes=SECRET),
    document(created="2026-01-01T00:00:00"),  # of no time zone
    document(expires=SECRET),
    document(limit={"per_minute": 0, "burst": 1}),
    document(limit={"per_minute": 1}),
    '{"keys": [%s, %s]}' % (2 * (json.dumps(json.loads(document())["keys"][0]),)),
    " " * (FILE_LIMIT_BYTES + 1),
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_told_without_what_is_in_it(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(KeysError, match=str(path)) as caught:
        read_keys(path)
    assert SECRET not in str(caught.value)
    shown = caught.value.__context__ is not None and not caught.value.__suppress_context__
    assert not shown  # in a traceback, were it ever logged with one


def test_a_missing_file_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(KeysError, match="ganymede keys create NAME"):
        read_keys(path)


# --- Whose a key is. ---


def test_a_key_is_found_and_no_other(path: Path) -> None:
    app, other = make(path, "app"), make(path, "other")
    keyring = opened(path)
    found = [keyring.find(secret) for secret in (app, other)]
    assert [key and key.name for key in found] == ["app", "other"]
    digest = sha256(app).hexdigest().encode()
    for wrong in (b"", app[:-1], app + b"x", app.upper(), digest, b"\xff" * 40, app + b"\0"):
        assert keyring.find(wrong) is None


def test_digests_are_compared_in_constant_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = make(path)
    keyring, compared = opened(path), []

    def compare(known: bytes, given: bytes) -> bool:
        compared.append((len(known), given))
        return hmac_compare(known, given)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr("service.keyring.hmac.compare_digest", compare)
    assert keyring.find(secret) is not None
    assert keyring.find(b"unknown") is None
    assert compared == [(32, sha256(secret).digest()), (32, sha256(b"unknown").digest())]
    monkeypatch.setattr("service.keyring.hmac.compare_digest", lambda *_: False)
    assert keyring.find(secret) is None  # nothing else decides


def test_the_table_is_searched_by_nothing_that_can_be_foreseen(path: Path) -> None:
    secret = make(path)
    tables = [set(opened(path)._keys) for _ in range(2)]
    assert not tables[0] & tables[1]
    assert sha256(secret).digest() not in tables[0]


def test_a_key_that_is_far_too_long_is_not_even_hashed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path)
    keyring = opened(path)
    monkeypatch.setattr("service.keyring.hashlib.sha256", None)
    assert keyring.find(b"x" * (LONGEST_BYTES + 1)) is None


# --- A file that changes. ---


def test_a_change_is_noticed_within_a_second_and_not_looked_for_more_often(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, clock, looks = make(path, "first"), Clock(), []
    keyring = opened(path, clock)
    stamp = keyring_module._stamp

    def look(path: Path) -> tuple[int, ...] | None:
        looks.append(1)
        return stamp(path)

    monkeypatch.setattr(keyring_module, "_stamp", look)
    second = make(path, "second")
    revoke_key(path, "first")
    clock.now_s += 0.999
    assert keyring.find(first)
    assert not keyring.find(second)
    assert looks == []
    clock.now_s += 0.001
    assert not keyring.find(first)
    assert keyring.find(second)
    assert keyring.find(second)
    assert looks == [1]


def test_an_unchanged_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, clock = make(path), Clock()
    keyring = opened(path, clock)
    monkeypatch.setattr(keyring_module, "read_keys", None)
    clock.now_s += 100
    assert keyring.find(secret)


@pytest.mark.parametrize("harm", ["damage", "remove"])
def test_a_file_that_is_harmed_leaves_the_earlier_keys_in_force(
    path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret, clock, metrics = make(path), Clock(), Metrics()
    keyring, whole = opened(path, clock, metrics), path.read_bytes()
    assert stale(metrics) == 0
    if harm == "damage":
        path.write_text("{")
    else:
        path.unlink()
    for _ in range(3):
        clock.now_s += 1
        assert keyring.find(secret)
    assert stale(metrics) == 1
    (said,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert str(path) in said.message
    assert "the keys read before stay in force" in said.message
    path.write_bytes(whole)
    revoke_key(path, "app")
    clock.now_s += 1
    assert not keyring.find(secret)
    assert stale(metrics) == 0


def test_a_service_does_not_start_without_its_keys(path: Path) -> None:
    with pytest.raises(KeysError, match="there is no keys file"):
        opened(path)


# --- The command. ---


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["ganymede", "keys", *arguments])
    with pytest.raises(SystemExit) as caught:
        ganymede.main()
    assert caught.value.code in (0, None), caught.value


def test_the_command_prints_the_key_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANYMEDE_KEYS_FILE", str(path))
    run(monkeypatch, "create", "app", "--scope", "use", "--scope", "admin", "--rate", "600")
    secret = capsys.readouterr().out.removesuffix("\n")
    assert read_keys(path)[0].sha256 == sha256(secret.encode()).hexdigest()
    assert read_keys(path)[0].scopes == ("use", "admin")
    assert read_keys(path)[0].limit == Limit(per_minute=600, burst=600)
    run(monkeypatch, "list")
    listed = capsys.readouterr().out
    assert listed.splitlines()[1].split()[:4] == ["app", "use,admin", "600", "600"]
    assert secret not in listed
    assert read_keys(path)[0].sha256 not in listed
    run(monkeypatch, "revoke", "app")
    assert read_keys(path) == ()


def test_the_command_makes_modest_keys(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "create", "app", "--file", str(path))
    (key,) = read_keys(path)
    assert (key.scopes, key.limit, key.expires) == (("use",), None, None)


def test_a_fault_of_the_keys_is_one_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ganymede", "keys", "list", "--file", str(path)])
    with pytest.raises(SystemExit, match="2"):
        ganymede.main()
    said = capsys.readouterr().err
    assert said.startswith(f"ganymede: there is no keys file {path}")
    assert said.count("\n") == 1
