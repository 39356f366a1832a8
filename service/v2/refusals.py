"""A problem as the V2 protocol says it."""

from __future__ import annotations

from typing import Any


def tell(problem: dict[str, Any]) -> dict[str, Any]:
    """``{"error": "..."}``; everything else is in the status and the headers."""
    return {"error": problem["detail"]}
