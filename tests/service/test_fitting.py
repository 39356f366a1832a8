"""Any picture to any model's size, and the answer back out of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.manifest import FixedSize, FreeSize
from service.errors import InvalidInput
from service.fields import FieldErrors
from service.fitting import Fitting, asked_size, fit_picture
from service.images import Pixels
from service.schemas import Fit

FREE = FreeSize(min_side=10, max_side=100, max_pixels=5000, stride=8, warm=((16, 16),))
SIDES = st.integers(1, 300)


def fit(size: FixedSize | FreeSize, height: int, width: int, how: Fit | None = None) -> Fitting:
    errors = FieldErrors()
    fitting = fit_picture(size, height, width, how, errors)
    errors.raise_if_any()
    return fitting


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@given(SIDES, SIDES, st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_fixed_size_takes_any_picture(height: int, width: int, rows: int, columns: int) -> None:
    size = FixedSize(height=rows, width=columns)
    for how in ("crop", "stretch", "pad"):
        fitting = fit(size, height, width, how)
        row = fitting.row(noise(height, width))
        assert row.shape == (rows, columns, 3)
        assert fitting.cut_out(row[None]).shape == (1, *fitting.inner, 3)
        if how != "pad":
            assert fitting.inner == fitting.outer


@given(SIDES, SIDES, st.sampled_from(["keep", "scale"]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_free_size_is_within_its_limits_or_refused(height: int, width: int, how: Fit) -> None:
    errors = FieldErrors()
    fitting = fit_picture(FREE, height, width, how, errors)
    try:
        errors.raise_if_any()
    except InvalidInput:
        fits = 10 <= min(height, width) <= max(height, width) <= 96 and height * width <= 3000
        narrow = max(height, width) > 9 * min(height, width)
        assert not fits
        assert how == "keep" or narrow
        return
    assert min(fitting.inner) >= 10
    assert max(fitting.outer) <= 100
    assert fitting.outer[0] * fitting.outer[1] <= 5000
    assert all(
        0 <= outer - inner < 8 for inner, outer in zip(fitting.inner, fitting.outer, strict=True)
    )
    assert not any(side % 8 for side in fitting.outer)
    if how == "keep":
        pixels = noise(height, width)
        assert np.array_equal(fitting.cut_out(fitting.row(pixels)[None])[0], pixels)


def test_a_scaled_picture_is_as_large_as_the_limits_let_it() -> None:
    assert fit(FREE, 400, 200, "scale").inner == (96, 48)
    assert fit(FREE, 2000, 2000, "scale").inner == (64, 64)
    assert fit(FREE, 5, 5, "scale").inner == (10, 10)
    assert fit(FREE, 20, 30, "scale").inner == (20, 30)


def test_padding_reflects_the_picture() -> None:
    pixels = noise(11, 16)
    row = fit(FREE, 11, 16).row(pixels)
    assert np.array_equal(row[:11], pixels)
    assert np.array_equal(row[11:], pixels[5:10][::-1])


def test_a_padded_picture_is_in_the_middle() -> None:
    fitting = fit(FixedSize(height=8, width=8), 16, 6, "pad")
    assert (fitting.inner, fitting.corner) == ((8, 3), (0, 2))


def test_a_crop_is_as_large_as_the_picture_lets_it() -> None:
    assert fit(FixedSize(height=8, width=8), 16, 40).box == (12, 0, 28, 16)
    assert fit(FixedSize(height=8, width=16), 40, 16).box == (0, 16, 16, 24)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_answers_of_graphs_that_enlarge_are_cut_out_too(factor: int) -> None:
    fitting = fit(FREE, 11, 13)
    row = fitting.row(noise(11, 13))
    larger = row.repeat(factor, 0).repeat(factor, 1)
    found = fitting.cut_out(larger[None])[0]
    assert np.array_equal(found, noise(11, 13).repeat(factor, 0).repeat(factor, 1))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (96, 48), (48, 96), (16, 96)])
def test_sizes_within_the_limits_may_be_asked_for(height: int, width: int) -> None:
    errors = FieldErrors()
    assert asked_size(FREE, height, width, errors) == (height, width)
    errors.raise_if_any()


@pytest.mark.parametrize(("height", "width"), [(17, 16), (8, 16), (104, 16), (96, 56), (10, 10)])
def test_other_sizes_tell_the_limits(height: int, width: int) -> None:
    errors = FieldErrors()
    assert asked_size(FREE, height, width, errors) == (16, 16)
    with pytest.raises(
        InvalidInput, match=r"sides of 10 to 100 pixels, 5000 in all.*multiples of 8"
    ):
        errors.raise_if_any()
