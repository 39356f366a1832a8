"""Texts to token ids, by the tokenizer file of a bundle: what a graph of role ``text`` is given.

The file is of the library ``tokenizers``, which is asked for when a bundle has one. A word that the
tokenizer does not know becomes its unknown token, and is told.

Errors::

    TextRefused          a text that no model can be asked with; the message says what to change
    TokenizerUnusable    the file is broken, or the package is missing
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.manifest import Input, Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHOWN = 5  # unknown words in a message
SHOWN_CHARACTERS = 50  # of each


class TextRefused(ValueError):
    """A text that no model can be asked with; the message says what to change."""


class TokenizerUnusable(Exception):
    """The file is broken, or the package that reads it is missing."""


@dataclass(frozen=True)
class Reading:
    """A text as a graph takes it.

    Args:
        ids: padded with zeros.
        unknown: the words that have no token of their own, in order.
    """

    ids: tuple[int, ...]
    unknown: tuple[str, ...] = ()


class Words:
    """What a graph understands: the words of a tokenizer, so many at once.

    Args:
        content: of the tokenizer's file, JSON.
        length: tokens that the graph takes.
        origin: names the file in errors.

    Raises:
        TokenizerUnusable: broken, or the package is missing.
    """

    def __init__(self, content: bytes, length: int, origin: str = "tokenizer") -> None:
        self._tokenizer = _tokenizer(content, origin)
        self._length = length
        # A near word is sought among those that begin alike: among all it takes half a second.
        self._known: dict[str, list[str]] = defaultdict(list)
        for word in self._tokenizer.get_vocab():
            self._known[word[:1]].append(word)
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        self._unknown = None if unknown is None else self._tokenizer.token_to_id(unknown)

    def read(self, text: str) -> Reading:
        """The ids of a text.

        Raises:
            TextRefused: nothing in it is known, or it is too long.
        """
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        spans = zip(encoded.ids, encoded.offsets, strict=True)
        unknown = tuple(text[slice(*span)] for id, span in spans if id == self._unknown)
        if not encoded.ids:
            raise TextRefused("holds no word: say what to show")
        if len(unknown) == len(encoded.ids):
            raise TextRefused(f"holds no word that the model knows{self._hint(unknown)}")
        if len(encoded.ids) > self._length:
            raise TextRefused(f"has {len(encoded.ids)} words: the model reads {self._length}")
        return Reading((*encoded.ids, *(0,) * (self._length - len(encoded.ids))), unknown)

    def _hint(self, unknown: tuple[str, ...]) -> str:
        told = []
        for word in unknown[:SHOWN]:
            shown = word[:SHOWN_CHARACTERS]
            plain = shown.casefold()
            near = difflib.get_close_matches(plain, self._known.get(plain[:1], ()), n=1)
            told.append(f"{shown!r}" + (f" (near {near[0]!r})" if near else ""))
        return f": not {', '.join(told)}"


def _tokenizer(content: bytes, origin: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise TokenizerUnusable(
            f"{origin} takes the package tokenizers: pip install tokenizers"
        ) from None
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises no other
        raise TokenizerUnusable(f"{origin} is no tokenizer file: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def find_words(inputs: Sequence[Input], content: Callable[[str], bytes]) -> Words | None:
    """What the text input among ``inputs`` understands; None without one.

    Args:
        inputs: of a graph.
        content: the file at a path in the bundle.

    Raises:
        TokenizerUnusable: broken, or the package is missing.
    """
    entry = next((entry for entry in inputs if isinstance(entry, Text)), None)
    if entry is None:
        return None
    return Words(content(entry.tokenizer), entry.length, entry.tokenizer)
