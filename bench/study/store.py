"""Sittings and trials in SQLite. What may happen only once is the database's to say.

A trial is planned, then shown (once), then answered (once), each in its turn.
People are kept as a salted hash of the code that they gave, enough to know them again.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.command import BenchError
from bench.study.protocol import ANSWERS, Answer, Protocol, Trial, plan_trials

_SCHEMA = """
CREATE TABLE IF NOT EXISTS study (
    only INTEGER PRIMARY KEY CHECK (only = 1), protocol TEXT NOT NULL, salt BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS sittings (
    token TEXT PRIMARY KEY, participant TEXT NOT NULL UNIQUE, model TEXT NOT NULL,
    begun_utc TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS trials (
    sitting TEXT NOT NULL REFERENCES sittings, number INTEGER NOT NULL,
    practice INTEGER NOT NULL, names TEXT NOT NULL, generated TEXT NOT NULL,
    shown INTEGER NOT NULL DEFAULT 0,
    answer TEXT CHECK (answer IN ('left', 'right', 'real', 'generated')),
    exposure_ms REAL, response_ms REAL, answered_utc TEXT,
    PRIMARY KEY (sitting, number),
    CHECK (answer IS NULL OR (shown AND answered_utc IS NOT NULL))
) WITHOUT ROWID;
"""
_CURRENT = "number = (SELECT MIN(number) FROM trials WHERE sitting = ? AND answer IS NULL)"


class Refused(Exception):
    """A request that the protocol does not allow; the message says what it allows."""


class UnknownSitting(Exception):
    """No sitting has that token."""


@dataclass(frozen=True)
class Turn:
    """Where a sitting stands: the trial whose turn it is, None when all are answered."""

    model: str
    number: int | None
    practice: bool
    shown: bool  # its pictures were, and are not again
    trial: Trial | None


@dataclass(frozen=True)
class Record:
    """An answered trial."""

    sitting: str
    model: str
    practice: bool
    trial: Trial
    answer: Answer
    exposure_ms: float


class Store:
    """The database of one study.

    Args:
        path: of the file; made when it is not there.
        protocol: of the study; None reads it from the file.

    Raises:
        BenchError: the file is no study, or of another one.
    """

    def __init__(self, path: Path, protocol: Protocol | None = None) -> None:
        if protocol is None and not path.is_file():
            raise BenchError(f"there is no {path}: `python -m bench.study serve` makes it")
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.executescript(_SCHEMA)
            self._database.execute("PRAGMA foreign_keys = ON")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self.protocol, self._salt = self._opened(path, protocol)
        except (sqlite3.DatabaseError, ValidationError) as error:
            self.close()
            raise BenchError(f"{path} is no study ({error}): name another file") from None
        except BenchError:
            self.close()
            raise

    def _opened(self, path: Path, protocol: Protocol | None) -> tuple[Protocol, bytes]:
        if protocol is not None:
            self._database.execute(
                "INSERT OR IGNORE INTO study VALUES (1, ?, ?)",
                (protocol.model_dump_json(), secrets.token_bytes(16)),
            )
        row = self._database.execute("SELECT protocol, salt FROM study").fetchone()
        if row is None:
            raise BenchError(f"{path} holds no study yet: serve one first")
        kept = Protocol.model_validate_json(row[0])
        if protocol is not None and kept != protocol:
            changed = [
                name
                for name in Protocol.model_fields
                if getattr(kept, name) != getattr(protocol, name)
            ]
            raise BenchError(
                f"{path} is of a study with another {', '.join(changed)}: name another file"
            )
        return kept, row[1]

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, and one at a time."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def begin(
        self, participant: str, real: Collection[str], generated: Mapping[str, Collection[str]]
    ) -> str:
        """A new sitting of the model that has had the fewest; its token.

        Raises:
            Refused: the participant has had a sitting.
        """
        person = hashlib.sha256(self._salt + participant.strip().casefold().encode()).hexdigest()
        draw, token = random.SystemRandom(), secrets.token_urlsafe(18)
        with self._change() as database:
            counted = dict(database.execute("SELECT model, COUNT(*) FROM sittings GROUP BY model"))
            model = min(generated, key=lambda name: (counted.get(name, 0), draw.random()))
            try:
                database.execute(
                    "INSERT INTO sittings VALUES (?, ?, ?, ?)", (token, person, model, _now())
                )
            except sqlite3.IntegrityError:
                raise Refused("this code has been used: everybody takes part once") from None
            trials = plan_trials(self.protocol, real, generated[model], draw)
            database.executemany(
                "INSERT INTO trials (sitting, number, practice, names, generated)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (token, k, k < self.protocol.practice, *map(json.dumps, (t.names, t.generated)))
                    for k, t in enumerate(trials)
                ],
            )
        return token

    def turn(self, token: str) -> Turn:
        """Where a sitting stands.

        Raises:
            UnknownSitting: there is none.
        """
        with self._lock:
            return self._turn(token)

    def _turn(self, token: str) -> Turn:
        sitting = self._database.execute(
            "SELECT model FROM sittings WHERE token = ?", (token,)
        ).fetchone()
        if sitting is None:
            raise UnknownSitting
        row = self._database.execute(
            f"SELECT number, practice, shown, names, generated FROM trials"
            f" WHERE sitting = ? AND {_CURRENT}",
            (token, token),
        ).fetchone()
        if row is None:
            return Turn(sitting[0], None, False, False, None)
        trial = _trial(*row[3:])
        return Turn(sitting[0], row[0], bool(row[1]), bool(row[2]), trial)

    def show(self, token: str, number: int) -> tuple[str, Trial]:
        """Note that a trial's pictures are shown; the model that the generated ones are of.

        Raises:
            UnknownSitting: there is none.
            Refused: it is not that trial's turn, or it was shown before.
        """
        with self._change() as database:
            turn = self._turn(token)
            if turn.trial is None or turn.number != number:
                raise Refused(f"trial {number} is not to be shown now")
            if turn.shown:
                raise Refused(f"trial {number} was shown, and each is shown once")
            database.execute(
                "UPDATE trials SET shown = 1 WHERE sitting = ? AND number = ?", (token, number)
            )
        return turn.model, turn.trial

    def answer(
        self, token: str, number: int, answer: Answer, exposure_ms: float, response_ms: float
    ) -> Trial | None:
        """Take the answer to the trial whose turn it is; the trial, if it was practice.

        Raises:
            UnknownSitting: there is none.
            Refused: it was answered, is not next, was not shown, or that is no answer to it.
        """
        with self._change() as database:
            turn = self._turn(token)
            if turn.trial is None or turn.number != number:
                expected = "all are answered" if turn.number is None else f"it is {turn.number}'s"
                raise Refused(f"trial {number} is not to be answered now: {expected}")
            if not turn.shown:
                raise Refused("its pictures were not shown")
            if answer not in ANSWERS[self.protocol.kind]:
                raise Refused(f"answer {' or '.join(ANSWERS[self.protocol.kind])}")
            taken = database.execute(
                "UPDATE trials SET answer = ?, exposure_ms = ?, response_ms = ?, answered_utc = ?"
                " WHERE sitting = ? AND number = ? AND answer IS NULL",
                (answer, exposure_ms, response_ms, _now(), token, number),
            )
            assert taken.rowcount == 1
        return turn.trial if turn.practice else None

    def sittings(self) -> dict[str, tuple[str, bool]]:
        """Of each sitting its model, and whether it was finished."""
        rows = self._database.execute(
            "SELECT token, model, NOT EXISTS (SELECT 1 FROM trials WHERE sitting = token"
            " AND answer IS NULL) FROM sittings ORDER BY begun_utc, token"
        )
        return {token: (model, bool(finished)) for token, model, finished in rows}

    def records(self) -> Iterator[Record]:
        """Every answered trial, in order."""
        rows = self._database.execute(
            "SELECT sitting, model, practice, names, generated, answer, exposure_ms FROM trials"
            " JOIN sittings ON token = sitting WHERE answer IS NOT NULL ORDER BY sitting, number"
        )
        for sitting, model, practice, names, generated, answer, exposure_ms in rows:
            trial = _trial(names, generated)
            yield Record(sitting, model, bool(practice), trial, answer, exposure_ms)


def _trial(names: str, generated: str) -> Trial:
    return Trial(tuple(json.loads(names)), tuple(json.loads(generated)))


def _now() -> Any:  # noqa: ANN401  # a column's value
    return datetime.now(UTC).isoformat(timespec="milliseconds")
