"""What an engine is made of: the lanes that were chosen for a graph, and a session for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.cost import CostTable
from service.lanes import Lanes, Layout
from service.rows import Rows


class Session(Protocol):
    """What runs a graph; ``service.session.OrtSession`` is one."""

    observe: Callable[[int, int, float], None] | None

    @property
    def run_at_once(self) -> Callable[[Rows], Rows | None] | None:
        """Gives the outputs, or None if they cannot be had without holding up the event loop.

        None where they never can.
        """

    async def run(self, parts: Sequence[Rows]) -> list[Rows]:
        """The outputs of each part, in order."""

    async def close(self) -> None:
        """Finish what runs, and free the device; may be called again."""


class Opener(Protocol):
    """What makes sessions of a graph."""

    async def open(self, lanes: Lanes) -> Session:
        """A new session, which has answered a row."""

    async def check(self, session: Session, rows: int) -> None:
        """Run so many rows that any session of the graph must answer; raises what fails."""


@dataclass(frozen=True)
class Fitted:
    """A graph's lanes as they were chosen, a session for each, and the costs of all measured."""

    layout: Layout
    sessions: dict[Lanes, Session]
    costs: Mapping[Lanes, CostTable]
