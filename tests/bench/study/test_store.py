"""Sittings in SQLite: each trial shown once, answered once, in its turn."""

from __future__ import annotations

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.command import BenchError
from bench.study.store import Refused, Store, UnknownSitting
from tests.bench.study.conftest import MODELS, NAMES, NewStore, protocol, sit


def begin(store: Store, person: str = "ann") -> str:
    return store.begin(person, NAMES, MODELS)


def test_a_sitting_goes_from_trial_to_trial(new_store: NewStore) -> None:
    store = new_store()
    token = sit(store, "ann", right=lambda _: True)
    turn = store.turn(token)
    assert (turn.number, turn.trial) == (None, None)
    records = list(store.records())
    assert [record.practice for record in records] == [True] * 3 + [False] * 6
    assert all(record.answer == record.trial.truth for record in records)
    assert store.sittings() == {token: (turn.model, True)}


def test_an_answer_is_taken_once(new_store: NewStore) -> None:
    store = new_store()
    token = begin(store)
    store.show(token, 0)
    store.answer(token, 0, "left", 1000, 500)
    with pytest.raises(Refused, match="it is 1's"):
        store.answer(token, 0, "right", 1000, 500)
    assert [record.answer for record in store.records()] == ["left"]


def test_of_answers_at_once_one_is_taken(new_store: NewStore) -> None:
    store = new_store()
    token = begin(store)
    store.show(token, 0)

    def answer(_: int) -> bool:
        try:
            store.answer(token, 0, "left", 1000, 500)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(answer, range(32))) == 1


@pytest.mark.parametrize("number", [1, 5, 8, 99, -1])
def test_no_trial_is_shown_or_answered_before_its_turn(new_store: NewStore, number: int) -> None:
    store = new_store()
    token = begin(store)
    with pytest.raises(Refused):
        store.show(token, number)
    store.show(token, 0)
    with pytest.raises(Refused):
        store.answer(token, number, "left", 1000, 500)
    assert store.turn(token).number == 0


def test_what_was_not_shown_is_not_answered(new_store: NewStore) -> None:
    store = new_store()
    token = begin(store)
    with pytest.raises(Refused, match="were not shown"):
        store.answer(token, 0, "left", 1000, 500)


def test_nothing_is_shown_twice(new_store: NewStore) -> None:
    store = new_store()
    token = begin(store)
    store.show(token, 0)
    assert store.turn(token).shown
    with pytest.raises(Refused, match="shown once"):
        store.show(token, 0)


def test_a_finished_sitting_takes_no_more(new_store: NewStore) -> None:
    store = new_store()
    token = sit(store, "ann", right=lambda _: True)
    for number in (0, 8, 9):
        with pytest.raises(Refused, match="all are answered"):
            store.answer(token, number, "left", 1000, 500)


def test_an_answer_is_of_the_kind_that_was_asked(new_store: NewStore) -> None:
    store = new_store()
    token = begin(store)
    store.show(token, 0)
    with pytest.raises(Refused, match="left or right"):
        store.answer(token, 0, "real", 1000, 500)


def test_feedback_is_for_practice_alone(new_store: NewStore) -> None:
    store = new_store()
    token = begin(store)
    told = []
    for number in range(store.protocol.length):
        _, trial = store.show(token, number)
        told.append(store.answer(token, number, "left", 1000, 500) == trial)
    assert told == [True] * 3 + [False] * 6


def test_everybody_takes_part_once(new_store: NewStore) -> None:
    store = new_store()
    begin(store, "Ann")
    for same in ("Ann", " ann "):
        with pytest.raises(Refused, match="once"):
            begin(store, same)
    begin(store, "bob")


def test_people_are_not_kept(new_store: NewStore, tmp_path: Path) -> None:
    begin(new_store(), "ann@example.org")
    files = [path.read_bytes() for path in tmp_path.glob("study.db*")]
    assert files
    assert not any(b"ann@example" in content for content in files)


def test_the_models_take_turns(new_store: NewStore) -> None:
    store = new_store()
    tokens = [begin(store, f"person {k}") for k in range(10)]
    assert Counter(store.turn(token).model for token in tokens) == {"a": 5, "b": 5}


def test_a_token_that_is_none_is_unknown(new_store: NewStore) -> None:
    with pytest.raises(UnknownSitting):
        new_store().turn("guessed")


def test_a_study_goes_on_after_a_restart(new_store: NewStore) -> None:
    token = begin(new_store())
    again = new_store()
    assert again.turn(token).number == 0
    with pytest.raises(Refused, match="once"):
        begin(again)


def test_another_study_needs_another_file(new_store: NewStore) -> None:
    new_store()
    with pytest.raises(BenchError, match="another kind, trials"):
        new_store(kind="single", trials=7)


def test_what_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="there is no"):
        Store(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database, but a text that is long enough" * 100)
    with pytest.raises(BenchError, match="is no study"):
        Store(tmp_path / "text.db", protocol())
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(BenchError, match="no study yet"):
        Store(tmp_path / "empty.db")


def test_the_database_itself_refuses_what_cannot_be(new_store: NewStore, tmp_path: Path) -> None:
    begin(new_store())
    database = sqlite3.connect(tmp_path / "study.db")
    try:
        with pytest.raises(sqlite3.IntegrityError):
            database.execute("UPDATE trials SET answer = 'left', answered_utc = 'now'")  # unshown
        with pytest.raises(sqlite3.IntegrityError):
            database.execute("INSERT INTO trials SELECT * FROM trials")
    finally:
        database.close()
