"""A dimension of a row: an integer, or an exact formula of the requested height and width.

``14``, ``"height"``, ``"height//8"``, ``"(3*width+3)//4"``: integers, ``height``, ``width``,
``+ - * //`` and parentheses, nothing else, so that a pyramid's noise maps follow the size asked
for without a rounding rule of their own.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def resolve(dimension: int | str, height: int, width: int) -> int:
    """The size in elements of a dimension for pictures of ``height`` x ``width`` pixels.

    Raises:
        ValueError: the formula is not one of the few forms allowed, or is not positive.
    """
    if isinstance(dimension, int):
        return dimension
    try:
        tree = ast.parse(dimension, mode="eval").body
        value = _evaluate(tree, {"height": height, "width": width})
    except (SyntaxError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"{dimension!r} is not a formula of height and width") from error
    if value <= 0:
        raise ValueError(f"{dimension!r} is {value} for {height}x{width}: it must be positive")
    return value


@lru_cache(maxsize=1024)  # asked several times for each request, and nearly always the same
def resolve_shape(shape: tuple[int | str, ...], height: int, width: int) -> tuple[int, ...]:
    """The shape of a row for pictures of ``height`` x ``width`` pixels."""
    return tuple(resolve(dimension, height, width) for dimension in shape)


def _evaluate(node: ast.expr, names: dict[str, int]) -> int:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left, names), _evaluate(right, names))
    raise ValueError("a dimension is made of integers, height, width, + - * // and parentheses")


def _valid(dimension: int | str) -> int | str:
    resolve(dimension, 1024, 1024)
    return dimension


Dimension = Annotated[
    Annotated[int, Field(gt=0)] | Annotated[str, Field(max_length=80)], AfterValidator(_valid)
]
