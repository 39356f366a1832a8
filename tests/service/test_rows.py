"""Rows: named arrays that are cut and joined together."""

from __future__ import annotations

import numpy as np
import pytest

from service.rows import Rows, elements_of


def five_rows() -> Rows:
    return Rows(
        {"z": np.arange(40, dtype=np.float32).reshape(5, 8), "label": np.arange(5, dtype=np.int64)}
    )


def test_rows_have_one_length_and_are_cut_together() -> None:
    rows = five_rows()
    assert len(rows) == 5
    assert len(rows[1:3]) == 2
    assert np.shares_memory(rows[1:3]["z"], rows["z"])
    assert rows.nbytes == 5 * (8 * 4 + 8)
    with pytest.raises(ValueError, match="same number of rows"):
        Rows({"a": np.zeros(1), "b": np.zeros(2)})
    with pytest.raises(ValueError, match="same number of rows"):
        Rows({})


def test_rows_share_a_batch_when_names_and_shapes_are_equal() -> None:
    small, large = np.zeros((1, 2), np.float32), np.zeros((3, 4), np.float32)
    assert Rows({"a": small}).shape_key() == Rows({"a": small.repeat(9, axis=0)}).shape_key()
    assert Rows({"a": small}).shape_key() != Rows({"a": large}).shape_key()
    assert Rows({"a": small}).shape_key() != Rows({"b": small}).shape_key()
    there, back = Rows({"a": small, "b": large[:1]}), Rows({"b": large[:1], "a": small})
    assert there.shape_key() == back.shape_key()


def test_joined_rows_are_in_order_and_padded_with_the_last() -> None:
    rows = five_rows()[:3]
    joined = Rows.join([rows[:1], rows[1:]], padding_rows=2)
    assert len(joined) == 5
    assert np.array_equal(joined["z"], rows["z"][[0, 1, 2, 2, 2]])
    assert Rows.join([rows]) is rows


def test_a_key_knows_the_elements_of_its_rows() -> None:
    rows = Rows({"z": np.zeros((2, 3, 4)), "knob": np.zeros(2), "index": np.zeros((2, 5))})
    assert elements_of(rows.shape_key()) == rows.row_elements == 18
