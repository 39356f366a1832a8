"""What a run that learnt captions offers besides: its text input, and the tokenizer's file."""

from __future__ import annotations

from typing import Any

from export.errors import NotServable
from export.manifest import Text

TOKENIZER = "tokenizer.json"


def spoken(dataset: dict[str, Any]) -> tuple[Text, dict[str, bytes]]:
    """The text input of a generator, and the file that it names.

    Args:
        dataset: what the run learnt from, as it wrote it down.

    Raises:
        NotServable: it learnt no words.
    """
    words = dataset.get("words")
    if words is None:
        raise NotServable(f"{dataset['name']} has no captions: train on data that has some")
    examples = tuple(words.get("examples", ()))
    text = Text(name="text", tokenizer=TOKENIZER, length=words["length"], examples=examples)
    return text, {TOKENIZER: words["tokenizer"].encode()}
