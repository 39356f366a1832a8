"""Formulas of height and width: exact, and nothing but arithmetic."""

from __future__ import annotations

import pytest

from export.dimension import resolve, resolve_shape


@pytest.mark.parametrize(
    ("dimension", "expected"),
    [
        (14, 14),
        ("height", 48),
        ("width", 20),
        ("height//8", 6),
        ("(3*width+3)//4", 15),
        ("height-width", 28),
        ("2*(height+1)//3", 32),
        ("7", 7),
    ],
)
def test_value(dimension: int | str, expected: int) -> None:
    assert resolve(dimension, 48, 20) == expected


def test_shape_is_resolved_axis_by_axis() -> None:
    assert resolve_shape((3, "height//2", "width"), 10, 6) == (3, 5, 6)


@pytest.mark.parametrize(
    "formula",
    [
        "",
        "height/2",
        "height**2",
        "-height",
        "height % 3",
        "depth",
        "height.real",
        "abs(height)",
        "__import__('os')",
        "height if width else 1",
        "[height][0]",
        "True",
        "1.5",
        "'8'",
        "height;1",
        "(height",
        "height//0",
        "a\0b",
        "(" * 70 + "1",
    ],
)
def test_anything_else_is_refused(formula: str) -> None:
    with pytest.raises(ValueError, match=r"formula|made of"):
        resolve(formula, 4, 4)


@pytest.mark.parametrize("formula", ["height-width", "height//64", "0"])
def test_not_positive_is_refused(formula: str) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        resolve(formula, 16, 16)
