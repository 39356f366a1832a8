"""What happened in a soak: every request and its end, every kill, every change of what serves."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

OURS = "soak-"  # how the ids of requests begin
PROBLEMS_KEPT = 20
# A connection that was idle at a kill is found to be broken a moment later; and a reply that has
# just left may not be counted any more.
AFTER_S, BEFORE_S = 0.5, 0.1


@dataclass(frozen=True)
class Lost:
    """A request that came to no answer, or to one that says that its worker was stopped."""

    name: str
    kind: str
    why: str
    begun_s: float
    ended_s: float


@dataclass
class Ledger:
    """Counts of requests by what became of them, as the clients saw it.

    Attributes:
        answered: the status of each request that was answered, by its id.
        vanished: the kind of each request whose client did not wait, by its id.
        near_kill: the ids of those that were answered while a worker was killed.
    """

    issued: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    near_kill: set[str] = field(default_factory=set)
    kinds: Counter[tuple[str, int]] = field(default_factory=Counter)
    judged: int = 0
    broken_off: int = 0
    images: int = 0
    unsure_images: int = 0  # of requests that a kill may have kept from being counted
    vanished: dict[str, str] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    kills_s: list[float] = field(default_factory=list)
    changes: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: int = 0
    problems: list[str] = field(default_factory=list)
    _underway: dict[str, float] = field(default_factory=dict)
    _recent: deque[tuple[float, str, int]] = field(default_factory=lambda: deque(maxlen=1000))

    def begin(self) -> str:
        """The id of a request that begins."""
        self.issued += 1
        name = f"{OURS}{self.issued}"
        self._underway[name] = time.monotonic()
        return name

    def end(self, name: str, kind: str, status: int, images: int = 0) -> None:
        """It was answered."""
        begun_s = self._underway.pop(name)
        self.answered[name] = status
        self.kinds[kind, status] += 1
        self.images += images
        now_s = time.monotonic()
        if self.killed_during(begun_s, now_s):
            self._doubt(name, images)
        else:
            self._recent.append((now_s, name, images))

    def lose(self, name: str, kind: str, why: str, images: int = 0) -> None:
        """It was not."""
        begun_s = self._underway.pop(name)
        self.lost.append(Lost(name, kind, why, begun_s, time.monotonic()))
        self.unsure_images += images

    def break_off(self, name: str, kind: str) -> None:
        """Its deadline passed when half of the reply was sent: it ends, as by no other end."""
        self.vanish(name, kind)
        self.broken_off += 1

    def vanish(self, name: str, kind: str) -> None:
        """The client went away without looking for an answer."""
        del self._underway[name]
        self.vanished[name] = kind

    def kill(self) -> None:
        """A worker is killed now; what was answered just before may not have been counted."""
        self.kills_s.append(now_s := time.monotonic())
        while self._recent:
            ended_s, name, images = self._recent.pop()
            if ended_s >= now_s - BEFORE_S:
                self._doubt(name, images)

    def _doubt(self, name: str, images: int) -> None:
        self.near_kill.add(name)
        self.unsure_images += images

    def object(self, problem: str) -> None:
        """Something is not as it must be."""
        self.wrong += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(problem)

    def killed_during(self, begun_s: float, ended_s: float) -> bool:
        """Whether a worker was killed while a request ran, or just before or after."""
        return any(
            begun_s <= kill_s + AFTER_S and ended_s >= kill_s - BEFORE_S for kill_s in self.kills_s
        )

    @property
    def unexplained(self) -> list[Lost]:
        """Requests that were lost though no worker was killed."""
        return [each for each in self.lost if not self.killed_during(each.begun_s, each.ended_s)]

    def statuses(self) -> Counter[int]:
        """How often each status came."""
        found: Counter[int] = Counter(self.answered.values())
        return found


@dataclass
class Serving:
    """Which versions serve, as far as clients can know while they are changed."""

    default: int
    versions: frozenset[int]
    changing: bool = False
    changes: int = 0

    def moment(self) -> tuple[int, bool]:
        """Remembers now, for ``settled``."""
        return self.changes, self.changing

    def settled(self, moment: tuple[int, bool]) -> bool:
        """Whether nothing changed since a moment."""
        changes, changing = moment
        return not changing and changes == self.changes
