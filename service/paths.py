"""The paths on which models are asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from export.manifest import Task

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "/generate": "generate",
        "/translate": "translate",
        "/encode": "encode",
        "/score": "score",
        "/v1/images/generations": "generate",
    }
)
ENDINGS = (200, 429, 500, 503, 504)  # of what a model was asked
TURNED_AWAY = (429, 503)  # before it is known which model is asked
V2_INFER = "/v2/models/{name}/infer"
V2_VERSION_INFER = "/v2/models/{name}/versions/{version}/infer"


def paths_of(tasks: Collection[Task]) -> tuple[str, ...]:
    """Those on which a model that has these tasks may be asked."""
    return (*(path for path, task in TASKS.items() if task in tasks), V2_INFER)
