"""What lies in the folders, and what became of each version of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from service.desired import Desired, Failed, Present
from service.folders import Failure, Found, Identity


class Inventory:
    """The bundles of the last look: tried or new, opened or failed."""

    def __init__(self) -> None:
        self.found: Mapping[Identity, Found] = {}
        self.unusable: tuple[Failure, ...] = ()
        self._tried: dict[Identity, tuple[Found, int]] = {}  # with the count of reloads by then
        self._opened: dict[Identity, int] = {}  # of what serves: the count of reloads by then
        self._broken: dict[Identity, Failure] = {}

    # --- What is known. ---

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What does not serve, though it is wanted."""
        return (*self.unusable, *(self._broken[identity] for identity in sorted(self._broken)))

    def failure(self, identity: Identity) -> Failure | None:
        """Why a version does not serve, or not as it now lies there."""
        return self._broken.get(identity)

    def failed(self) -> tuple[Failed, ...]:
        """Every version that does not serve, or not as it now lies there."""
        return tuple(
            Failed(name=name, version=version, reason=failure.reason)
            for (name, version), failure in sorted(self._broken.items())
        )

    def present(self, serving: Iterable[Identity]) -> dict[str, Present]:
        """What there is of each model, given what serves."""
        serves = set(serving)
        there: dict[str, set[int]] = {}
        for name, version in self.found:
            there.setdefault(name, set()).add(version)
        return {
            name: Present(
                found=frozenset(versions),
                serving=frozenset(version for version in versions if (name, version) in serves),
                failed={
                    version: self._broken[name, version].reason
                    for version in versions
                    if (name, version) in self._broken
                },
            )
            for name, versions in sorted(there.items())
        }

    def wanted(self, desired: Desired) -> dict[Identity, Found]:
        """What shall serve."""
        return {key: found for key, found in self.found.items() if not desired.unloads(*key)}

    def unloaded(self, desired: Desired) -> list[Identity]:
        """What shall not serve."""
        return sorted(identity for identity in self.found if desired.unloads(*identity))

    def is_stale(self, identity: Identity, desired: Desired) -> bool:
        """Whether a bundle is new, or changed, or to be opened anew."""
        if identity not in self._tried:
            return True
        tried, reloads = self._tried[identity]
        known = {reloads, self._opened.get(identity, reloads)}
        return tried != self.found[identity] or desired.reloads(*identity) not in known

    def is_open(self, identity: Identity, reloads: int) -> bool:
        """Whether it serves, and was opened at this count of reloads."""
        return self._opened.get(identity) == reloads

    # --- What becomes of it. ---

    def look(self, found: Mapping[Identity, Found], unusable: tuple[Failure, ...]) -> set[Failure]:
        """Take in what lies there now; what is newly unusable is returned."""
        new = set(unusable).difference(self.unusable)
        self.found, self.unusable = found, unusable
        return new

    def note_tried(self, identity: Identity, found: Found, reloads: int) -> None:
        """It was loaded, or could not be, or need not be: not again before this changes.

        That it need not be is noted for a reload that failed: once taken back, it is untried.
        """
        self._tried[identity] = found, reloads

    def note_open(self, identity: Identity, reloads: int) -> None:
        """It serves as it lies there."""
        self._broken.pop(identity, None)
        self._opened[identity] = reloads

    def note_broken(self, identity: Identity, failure: Failure) -> None:
        """It cannot be served as it lies there."""
        self._broken[identity] = failure

    def forget_unwanted(self, desired: Desired) -> list[Identity]:
        """Forget what is gone or shall not serve: should it return, it is new."""
        wanted = self.wanted(desired)
        gone = [identity for identity in self._tried if identity not in wanted]
        for identity in gone:
            del self._tried[identity]
            self._opened.pop(identity, None)
            self._broken.pop(identity, None)
        return gone
