"""Rows by role."""

from __future__ import annotations

import numpy as np
import pytest

from export.draw import draw
from export.errors import InvalidChoice
from export.manifest import (
    FixedSize,
    FreeSize,
    Image,
    Index,
    Input,
    Label,
    Latent,
    Noise,
    Scalar,
    Text,
    Vector,
)
from export.rows import chosen_rows, cut, row_shape, sizes, tried_sizes, varied_rows

Z = Latent(name="z", shape=(5,))
NOISE = Noise(name="noise", shape=(1, "height//2", "width"))
LABEL = Label(name="label", classes=("a", "b", "c"))
KNOB = Scalar(name="knob", low=-1, high=3, default=0.5)
INDEX = Index(name="layers", shape=(4,), high=2, default=1)
VECTOR = Vector(name="w", shape=(6,))
IMAGE = Image(name="source", channels=3, low=0, high=1)
TEXT = Text(name="prompt", tokenizer="t.json", length=7)
ALL = (Z, NOISE, LABEL, KNOB, INDEX, VECTOR, IMAGE, TEXT)


@pytest.mark.parametrize(
    ("entry", "shape", "dtype"),
    [
        (Z, (5,), np.float32),
        (NOISE, (1, 4, 6), np.float32),
        (LABEL, (), np.int64),
        (KNOB, (), np.float32),
        (INDEX, (4,), np.int64),
        (VECTOR, (6,), np.float32),
        (IMAGE, (3, 8, 6), np.float32),
        (TEXT, (7,), np.int64),
    ],
)
def test_shape_and_type_of_every_role(entry: Input, shape: tuple[int, ...], dtype: type) -> None:
    assert row_shape(entry, 8, 6) == shape
    rows = varied_rows([entry], range(4), 8, 6)[entry.name]
    assert rows.shape == (4, *shape)
    assert rows.dtype == dtype


def test_varied_rows_differ_in_every_input() -> None:
    for name, rows in varied_rows(ALL, range(4), 8, 6).items():
        assert len(np.unique(rows, axis=0)) > 1, name


def test_varied_rows_are_the_same_again_alone() -> None:
    together = varied_rows(ALL, [3, 9], 8, 6)
    alone = varied_rows(ALL, [9], 8, 6)
    for name, rows in alone.items():
        np.testing.assert_array_equal(rows, cut(together, 1, 2)[name])


def test_varied_rows_reach_the_ends_of_their_ranges() -> None:
    rows = varied_rows(ALL, range(17), 16, 16)
    assert set(rows["label"]) == {0, 1, 2}
    assert (rows["knob"].min(), rows["knob"].max()) == (-1, 3)
    assert set(np.unique(rows["layers"])) == {0, 1}
    assert (rows["source"].min(), rows["source"].max()) == (0, 1)
    assert set(np.unique(rows["source"] * 255 % 1).round(3)) <= {0, 1}


def test_chosen_rows_are_the_draws_the_choices_and_the_defaults() -> None:
    seeds = [4, 2]
    rows = chosen_rows((Z, NOISE, LABEL, KNOB, INDEX, VECTOR), seeds, 8, 6, labels=[2, 0])
    np.testing.assert_array_equal(rows["z"], draw(Z, seeds, 8, 6))
    np.testing.assert_array_equal(rows["noise"], draw(NOISE, seeds, 8, 6))
    assert rows["label"].tolist() == [2, 0]
    assert rows["knob"].tolist() == [0.5, 0.5]
    assert np.all(rows["layers"] == 1)
    assert not rows["w"].any()


def test_chosen_knob_replaces_the_default() -> None:
    rows = chosen_rows((KNOB,), [0, 1], 8, 6, scalars={"knob": 2.0})
    assert rows["knob"].tolist() == [2, 2]


@pytest.mark.parametrize("entry", [IMAGE, TEXT])
def test_what_no_seed_draws_is_refused(entry: Input) -> None:
    with pytest.raises(InvalidChoice, match=entry.role):
        chosen_rows((entry,), [0], 8, 6)


def test_sizes_to_check() -> None:
    assert sizes(FixedSize(height=3, width=5)) == ((3, 5),)
    free = FreeSize(min_side=4, max_side=64, max_pixels=4096, warm=((8, 8), (16, 4)))
    assert sizes(free) == ((8, 8), (16, 4))


@pytest.mark.parametrize(
    ("most", "expected"), [(4096, ((64, 64), (12, 12), (12, 16))), (144, ((12, 12),))]
)
def test_free_sizes_are_tried_at_the_smallest_and_not_square(
    most: int, expected: tuple[tuple[int, int], ...]
) -> None:
    warm = expected[:1]
    free = FreeSize(min_side=9, max_side=64, max_pixels=most, stride=4, warm=warm)
    assert tried_sizes(free) == expected
    assert tried_sizes(FixedSize(height=3, width=5)) == ((3, 5),)
