"""What is wrong with the fields of a request: collected first, then told all at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from service.errors import InvalidInput

CHOICES_SHOWN = 100  # of a long list of classes
ERRORS_SHOWN = 20  # of a body that is nothing but errors: its refusal must not outgrow it
NAME_SHOWN = 100  # characters of a field's name


class FieldErrors:
    """The wrong fields found so far, as many as will be told."""

    def __init__(self) -> None:
        self._found: list[dict[str, Any]] = []

    def add(self, field: str, detail: str, **more: Any) -> None:  # noqa: ANN401
        """Note that ``field`` is wrong; ``detail`` says what to change."""
        if not self.full:
            self._found.append({"field": field[:NAME_SHOWN], "detail": detail} | more)

    def add_unknown(self, field: str, known: Sequence[str]) -> None:
        """Note a field that nobody reads, with the nearest that somebody does."""
        if self.full:
            return
        hint, more = suggest(field[:NAME_SHOWN], known)
        self.add(field, f"there is no such field here{hint}", choices=known, **more)

    @property
    def full(self) -> bool:
        """Whether nothing more will be told, so that nothing more need be looked for."""
        return len(self._found) >= ERRORS_SHOWN

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return bool(self._found)

    def error(self) -> InvalidInput:
        """The refusal that tells everything found."""
        summary = "; ".join(f"{wrong['field']}: {wrong['detail']}" for wrong in self._found)
        if self.full:
            summary += f"; no more than {ERRORS_SHOWN} are told at once"
        return InvalidInput(summary, errors=self._found)

    def raise_if_any(self) -> None:
        """Raise InvalidInput when anything was found."""
        if self._found:
            raise self.error()


def suggest(word: str, choices: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A hint for the detail, and the ``nearest`` member, when a choice is near ``word``."""
    by_folded = {choice.casefold(): choice for choice in reversed(choices)}
    near = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    if not near:
        return "", {}
    nearest = by_folded[near[0]]
    return f"; did you mean {nearest!r}?", {"nearest": nearest}
