"""Captions: what pictures show, in words, and the tokenizer that turns words into numbers.

The tokenizer is a file of the library ``tokenizers``: lower case, no accents, a word for each run
of letters and digits. Its vocabulary is every word of the training captions, frequent ones first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LENGTH = 16  # tokens; of a longer caption the first
EXAMPLES = 10  # that a bundle shows
PADDING, UNKNOWN = "[PAD]", "[UNK]"  # the tokens 0 and 1

Texts = Sequence[Sequence[str]]
"""One or more captions for each picture."""


@dataclass(frozen=True, eq=False)
class Captions:
    """The words of a data set.

    Args:
        texts: for each picture one or more.
        tokens: [N, M, ``LENGTH``], zeros after the end; a picture with less than M captions begins
            again with its first.
        tokenizer: the file, JSON.
        vocabulary: how many tokens there are.
    """

    texts: tuple[tuple[str, ...], ...]
    tokens: NDArray[np.int64]
    tokenizer: str
    vocabulary: int

    def facts(self) -> dict[str, Any]:
        """What a run and its bundle must know of them."""
        length, count = self.tokens.shape[2], len(self.texts)
        examples = dict.fromkeys(self.texts[k * count // EXAMPLES][0] for k in range(EXAMPLES))
        return {
            "vocabulary": self.vocabulary,
            "length": length,
            "examples": list(examples),
            "tokenizer": self.tokenizer,
        }


def captions(texts: Texts, learnt: Texts) -> Captions:
    """The captions of a split, in the words of the training split.

    Args:
        texts: of the split's pictures.
        learnt: of all pictures of the training split.

    Raises:
        DataError: a picture has no caption, or the package ``tokenizers`` is missing.
    """
    if not texts or not all(texts):
        raise DataError("a picture has no caption: give each at least one")
    tokenizer = word_tokenizer(learnt)
    most = max(map(len, texts))
    rows = [[each[k % len(each)] for k in range(most)] for each in texts]
    encoded = [[tokenizer.encode(text).ids for text in row] for row in rows]
    return Captions(
        texts=tuple(tuple(each) for each in texts),
        tokens=np.array(encoded, np.int64),
        tokenizer=tokenizer.to_str(),
        vocabulary=tokenizer.get_vocab_size(),
    )


def word_tokenizer(texts: Texts) -> Tokenizer:
    """A tokenizer that knows every word of ``texts``, the same one for the same texts.

    Raises:
        DataError: the package ``tokenizers`` is missing.
    """
    try:
        from tokenizers import Regex, Tokenizer
        from tokenizers.models import WordLevel
        from tokenizers.normalizers import NFD, Lowercase, Sequence, StripAccents
        from tokenizers.pre_tokenizers import Split
    except ModuleNotFoundError:
        raise DataError("captions need the package tokenizers: pip install tokenizers") from None
    normalizer = Sequence([NFD(), Lowercase(), StripAccents()])
    splitter = Split(Regex(r"[^\p{L}\p{N}]+"), "removed")
    counts = Counter(
        word
        for each in texts
        for text in each
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    words = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = {word: k for k, word in enumerate((PADDING, UNKNOWN, *words))}
    tokenizer = Tokenizer(WordLevel(vocabulary, UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.enable_padding(length=LENGTH, pad_id=0, pad_token=PADDING)
    tokenizer.enable_truncation(LENGTH)
    return tokenizer


def digest_of(words: Captions | None) -> bytes:
    """What of the captions decides a training: nothing without any."""
    if words is None:
        return b""
    return json.dumps([words.texts, words.tokenizer]).encode()
