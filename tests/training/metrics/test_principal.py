"""Principal components against the singular values of the same pictures."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics.principal import principal_axes, remade, rows_of, squared_errors

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 3, 2, 2), np.uint8)


def test_the_error_is_that_of_the_singular_values_that_are_left_out() -> None:
    rows = rows_of(PICTURES)
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    for numbers in (1, 5, 12):
        errors = squared_errors(principal_axes(PICTURES, numbers), PICTURES, clipped=False)
        assert errors.sum() * 12 == pytest.approx(np.square(values[numbers:]).sum(), abs=1e-12)


def test_clipping_takes_away_what_no_picture_shows() -> None:
    axes = principal_axes(PICTURES, 3)
    made = remade(axes, PICTURES)
    assert made.min() < 0 < 1 < made.max()
    expected = np.square(made.clip(0, 1) - rows_of(PICTURES)).mean(1)
    np.testing.assert_allclose(squared_errors(axes, PICTURES, clipped=True), expected)
