"""What operators asked for, on the disk: whole or not there, and never silently lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.config import ServiceConfig, StartupError, StateUnreadable
from service.desired import Desired, Wanted
from service.errors import StateNotKept
from service.state import StateFile

DESIRED = Desired(generation=3, models={"cats": Wanted(default=2, earlier=(1,), unloaded="all")})


def test_nothing_was_asked_for_before_there_is_a_file(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "state.json").read() == Desired()
    assert StateFile(tmp_path / "none" / "state.json").read() == Desired()


def test_what_was_kept_is_read(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "made" / "state.json")
    state.stage(DESIRED).keep()
    assert state.read() == DESIRED
    state.stage(Desired()).keep()
    assert state.read() == Desired()
    assert os.listdir(tmp_path / "made") == ["state.json"]


def test_what_is_only_staged_or_discarded_is_not_kept(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.json")
    staged = state.stage(DESIRED)
    assert state.read() == Desired()
    staged.discard()
    assert os.listdir(tmp_path) == []


def test_it_is_flushed_to_the_disk_before_it_takes_the_place_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def flush(number: int) -> None:
        done.append("flush")

    def replace(source: Path, target: Path) -> None:
        assert Desired.model_validate_json(source.read_bytes()) == DESIRED
        done.append("rename")

    monkeypatch.setattr("service.state.os.fsync", flush)
    monkeypatch.setattr("service.state.os.replace", replace)
    StateFile(tmp_path / "state.json").stage(DESIRED).keep()
    assert done == ["flush", "rename", "flush"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "EOF while parsing"),
        ('{"schema_version": 1, "gener', "EOF while parsing"),
        ('{"schema_version": 2}', "schema_version"),
        ('{"models": {"cats": {"default": "two"}}}', "models.cats.default"),
        ('{"colour": "red"}', "colour"),
    ],
)
def test_a_damaged_file_stops_the_start_and_says_what_to_do(
    text: str, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(StateUnreadable, match=why) as error:
        StateFile(path).read()
    assert isinstance(error.value, StartupError)
    assert str(path) in str(error.value)
    assert "remove it" in str(error.value)
    assert "GANYMEDE_STATE_FILE" in str(error.value)


def test_a_folder_in_its_place_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StateUnreadable, match="Is a directory"):
        StateFile(tmp_path).read()


def test_what_cannot_be_written_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateNotKept, match="GANYMEDE_STATE_FILE"):
        StateFile(tmp_path / "file" / "state.json").stage(DESIRED)

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("service.state.os.fsync", full)
    with pytest.raises(StateNotKept, match="No space left"):
        StateFile(tmp_path / "state.json").stage(DESIRED)
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_renamed_is_not_kept(tmp_path: Path) -> None:
    staged = StateFile(tmp_path / "state.json").stage(DESIRED)
    (tmp_path / "state.json").mkdir()
    with pytest.raises(StateNotKept):
        staged.keep()


def test_what_is_renamed_is_kept_though_its_folder_cannot_be_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state = StateFile(tmp_path / "state.json")
    staged = state.stage(DESIRED)

    def fail(number: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("service.state.os.fsync", fail)
    staged.keep()
    assert state.read() == DESIRED
    assert "cannot be flushed (Input/output error)" in caplog.text


def test_it_lies_with_the_models_unless_told(tmp_path: Path) -> None:
    config = ServiceConfig(models=(tmp_path, tmp_path / "more"))
    assert config.state_path == tmp_path / ".ganymede.json"
    config = ServiceConfig(models=(tmp_path,), state_file=tmp_path / "here")
    assert config.state_path == tmp_path / "here"
