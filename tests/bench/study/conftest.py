"""A small study: two models, three practice trials, six that count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.study.protocol import ANSWERS, Protocol
from bench.study.store import Store

PRACTICE, TRIALS = 3, 6
NAMES = [f"p{k:02}" for k in range(12)]
MODELS = {"a": NAMES, "b": NAMES}
NewStore = Callable[..., Store]


def protocol(**changes: Any) -> Protocol:  # noqa: ANN401
    """The small study's, changed."""
    facts = {"practice": PRACTICE, "trials": TRIALS, "real": "r", "generated": {"a": "1", "b": "2"}}
    return Protocol(**{**facts, **changes})


def sit(store: Store, person: str, *, right: Callable[[int], bool], finished: bool = True) -> str:
    """A whole sitting, answered rightly in the trials that ``right`` says; its token."""
    token = store.begin(person, NAMES, dict.fromkeys(store.protocol.generated, NAMES))
    for number in range(store.protocol.length if finished else store.protocol.length - 1):
        _, trial = store.show(token, number)
        wrong = next(each for each in ANSWERS[store.protocol.kind] if each != trial.truth)
        answer = trial.truth if right(number) else wrong
        store.answer(token, number, answer, 1000.0, 700.0)
    return token


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[NewStore]:
    """Makes stores, and closes them."""
    made: list[Store] = []

    def make(name: str = "study.db", **changes: Any) -> Store:  # noqa: ANN401
        made.append(Store(tmp_path / name, protocol(**changes)))
        return made[-1]

    yield make
    for store in made:
        store.close()
