"""The command line of the service's measurement."""

from __future__ import annotations

import pytest

from bench.command import BenchError
from bench.loads import MANY
from bench.service import CONTENDERS, LOADS, SERVERS, choose


def test_names_choose_in_the_order_of_the_table() -> None:
    assert [one.name for one in choose(CONTENDERS, ["mosec", "ganymede"], "contender")] == [
        "ganymede",
        "mosec",
    ]
    assert choose(LOADS, None, "load") == LOADS


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(BenchError, match="no contender is called triton: take ganymede, "):
        choose(CONTENDERS, ["triton"], "contender")


def test_names_are_unique_and_one_word() -> None:
    names = [one.name for one in (*CONTENDERS, *LOADS)]
    assert len(names) == len(set(names))
    assert not any("," in name or " " in name for name in names)


def test_every_server_is_put_under_the_load_that_tells_its_capacity() -> None:
    for one in CONTENDERS:
        if one.name in SERVERS:
            assert MANY in one.loads
