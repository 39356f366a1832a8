"""Retrieval among 50: a generator that shows its text, one that shows another's, and the floor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bench import retrieval
from bench.command import BenchError
from bench.retrieval import EACH, NEW, SEEN, Spoken, measure, table
from export.manifest import Text
from export.sampling import Generator
from training.data.captions import captions
from training.data.dataset import Dataset, Images
from training.data.progress import silent
from training.metrics.features import Extractor

ROWS, COLUMNS = 8, 8
EYES = Extractor(
    "pixels", "pixels", lambda images: images.reshape(len(images), -1).astype(np.float32)
)
GENERATOR = Generator(lambda rows: {}, (Text(name="text", tokenizer="t", length=16),), (), 8, 8)


def drawn(text: str) -> Images:
    """A bright row and a bright column, as the text says: ``row r column c``."""
    row, column = int(text.split()[1][1:]), int(text.split()[3][1:])
    picture = np.zeros((ROWS, COLUMNS, 1), np.uint8)
    picture[row], picture[:, column] = 255, 255
    return picture


def dataset(texts: Sequence[str], learnt: Sequence[str]) -> Dataset:
    words = captions([[text] for text in texts], [[text] for text in learnt])
    images = np.stack([drawn(text) for text in texts])
    return Dataset("crosses", "", "", (), images, None, "0", captions=words)


def crosses() -> tuple[list[str], list[str]]:
    """All that are trained on, and those on the diagonal, which are new."""
    every = [(r, c) for r in range(ROWS) for c in range(COLUMNS)]
    named = {(r, c): f"row r{r} column c{c}" for r, c in every}
    return [t for (r, c), t in named.items() if r != c], [
        t for (r, c), t in named.items() if r == c
    ]


@pytest.fixture(scope="module")
def spoken() -> Spoken:
    train, test = crosses()
    return Spoken(dataset(train, train), dataset(test, train), EYES, silent)


def test_pictures_of_their_texts_are_found_as_often_as_the_real(
    spoken: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pictures(_: Generator, seeds: list[int], *, texts: Sequence[str]) -> Images:
        assert len(seeds) == len(texts)
        return np.stack([drawn(text) for text in texts])

    monkeypatch.setattr(retrieval, "pictures", pictures)
    seen, new = measure(GENERATOR, spoken, 40, silent)
    assert (seen.metric, seen.samples, new.metric, new.samples) == (SEEN, 40, NEW, 8 * EACH)
    assert seen.reference is not None
    assert seen.value == seen.reference > 0.9
    assert "chance 0.02" in seen.protocol
    assert table([seen, new]).row_count == 2


def test_pictures_of_other_texts_are_found_by_chance_alone(
    spoken: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pictures(_: Generator, seeds: list[int], *, texts: Sequence[str]) -> Images:
        return np.stack([drawn(text) for text in (*texts[7:], *texts[:7])])

    monkeypatch.setattr(retrieval, "pictures", pictures)
    seen, _ = measure(GENERATOR, spoken, 40, silent)
    assert seen.value < 0.1


def test_data_without_captions_is_refused() -> None:
    train, _ = crosses()
    silent_set = Dataset("still", "", "", (), np.zeros((2, 8, 8, 1), np.uint8), None, "0")
    with pytest.raises(BenchError, match="still has no captions"):
        Spoken(dataset(train, train), silent_set, EYES, silent)
