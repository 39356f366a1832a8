"""The error tree is drawn in full, and every error is told without a traceback."""

from __future__ import annotations

from export import errors
from export.errors import ExportError


def test_tree_is_drawn_in_full() -> None:
    drawn = errors.__doc__ or ""
    assert all(f"x {error.__name__} " in drawn for error in ExportError.__subclasses__())
