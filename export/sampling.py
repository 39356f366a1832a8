"""Seeds and choices to pictures, whatever runs the graph: the same draws that the service makes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.draw import SEED_LIMIT, draw_label
from export.errors import InvalidChoice
from export.manifest import ImageOutput, Input, Label, Output, Scalar, Text
from export.rows import Rows, Run, chosen_rows, cut
from export.tokens import TextRefused, Words

_BATCH_ROWS = 32
_MAX_PICTURES = 4096


@dataclass(frozen=True)
class Generator:
    """Something that makes pictures: a graph, whatever runs it, and what it declares."""

    run: Run
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    height: int
    width: int
    words: Words | None = None  # what its text input understands, if it has one

    @property
    def text(self) -> Text | None:
        """The input that takes a text, if there is one."""
        return next((entry for entry in self.inputs if isinstance(entry, Text)), None)

    @property
    def label(self) -> Label | None:
        """The input that takes a class, if there is one."""
        return next((entry for entry in self.inputs if isinstance(entry, Label)), None)


def pictures(
    generator: Generator,
    seeds: Sequence[int],
    *,
    labels: Sequence[int] = (),
    scalars: Mapping[str, float] | None = None,
    texts: Sequence[str] = (),
) -> NDArray[np.uint8]:
    """One picture per seed, uint8 [N, H, W, C].

    Raises:
        InvalidChoice: the graph gives no picture, or needs what no seed can give.
        TextRefused: it cannot be asked with one of the texts.
    """
    outputs = (output for output in generator.outputs if isinstance(output, ImageOutput))
    image = next(outputs, None)
    if image is None:
        raise InvalidChoice("this graph gives no picture: choose a bundle that generates")
    size = generator.height, generator.width
    said = _said(generator, texts)
    rows = chosen_rows(generator.inputs, seeds, *size, labels=labels, scalars=scalars, given=said)
    starts = range(0, len(seeds), _BATCH_ROWS)
    batches = [generator.run(cut(rows, k, k + _BATCH_ROWS))[image.name] for k in starts]
    return np.concatenate(batches)


def _said(generator: Generator, texts: Sequence[str]) -> Rows:
    """The rows of the text input, if there is one and something was said."""
    entry, words = generator.text, generator.words
    if entry is None or words is None or not texts:
        return {}
    return {entry.name: np.array([words.read(text).ids for text in texts], np.int64)}


def parse_seeds(text: str) -> list[int]:
    """``0-63`` or ``7,8`` or both, as a list.

    Raises:
        InvalidChoice: it is not that, or asks for more than 4,096 pictures.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,16})(?:-(\d{1,16}))?\s*", part, re.ASCII)
        if match is None:
            raise InvalidChoice(f"{part!r} is not a seed or a range: write 0-63 or 7,8")
        start, stop = int(match[1]), int(match[2] or match[1])
        if not start <= stop < SEED_LIMIT:
            raise InvalidChoice(f"{part!r} must rise, and stay below 2**53")
        if stop - start >= _MAX_PICTURES - len(seeds):
            raise InvalidChoice(f"{text!r} is more than {_MAX_PICTURES} pictures")
        seeds.extend(range(start, stop + 1))
    return seeds


def choose_labels(generator: Generator, names: Sequence[str], seeds: Sequence[int]) -> list[int]:
    """A class index per seed, from names or indices that are used in turn.

    None given: each seed draws its class, as it does in the service.

    Raises:
        InvalidChoice: no such class, or a graph without classes.
    """
    entry = generator.label
    if entry is None:
        if names:
            raise InvalidChoice("this model has no classes: leave --label out")
        return []
    if not names:
        return [draw_label(entry, seed) for seed in seeds]
    chosen = [_index(entry, name) for name in names]
    return [chosen[k % len(chosen)] for k in range(len(seeds))]


def _index(entry: Label, name: str) -> int:
    folded = [known.casefold() for known in entry.classes]
    if name in entry.classes:
        return entry.classes.index(name)
    if name.casefold() in folded:
        return folded.index(name.casefold())
    if name.isdecimal() and int(name) < len(entry.classes):
        return int(name)
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f"did you mean {entry.classes[folded.index(near[0])]!r}? " if near else ""
    raise InvalidChoice(f"no class {name!r}: {hint}there are {', '.join(entry.classes)}")


def choose_texts(generator: Generator, given: Sequence[str], seeds: Sequence[int]) -> Sequence[str]:
    """A text per seed, out of those given, in turn; none given: of the model's examples.

    Raises:
        InvalidChoice: the model reads no text, or one that was given cannot be read.
    """
    entry = generator.text
    if entry is None or generator.words is None:
        if given:
            raise InvalidChoice("this model reads no text: leave --text out")
        return []
    chosen = given or entry.examples
    if not chosen:
        raise InvalidChoice("this model draws what a text says: give one, --text")
    try:
        for text in chosen:
            generator.words.read(text)
    except TextRefused as refusal:
        raise InvalidChoice(f"the text {text!r} {refusal}") from None
    return [chosen[k % len(chosen)] for k in range(len(seeds))]


def choose_scalars(generator: Generator, given: Mapping[str, float]) -> dict[str, float]:
    """The knobs that were given, checked against the ranges that the graph declares.

    Raises:
        InvalidChoice: no such knob, or a value outside its range.
    """
    knobs = {entry.name: entry for entry in generator.inputs if isinstance(entry, Scalar)}
    for name, value in given.items():
        if name not in knobs:
            raise InvalidChoice(f"this model has no {name}: it has {', '.join(knobs) or 'none'}")
        low, high = knobs[name].low, knobs[name].high
        if not low <= value <= high:
            raise InvalidChoice(f"{name} {value:g} is outside [{low:g}, {high:g}]")
    return dict(given)
