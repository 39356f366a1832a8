"""Captions as tokens: which words, in which order, and what becomes of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data import load
from training.data.captions import LENGTH, captions
from training.errors import DataError

TEXTS = [["Red heart", "love"], ["green heart"], ["T-shirt: caf\u00e9 N\u00ba1"]]


def vocabulary(tokenizer: str) -> dict[str, int]:
    return json.loads(tokenizer)["model"]["vocab"]  # type: ignore[no-any-return]


def test_words_are_lower_case_without_accents_or_signs_and_the_frequent_first() -> None:
    found = captions(TEXTS, TEXTS)
    known = vocabulary(found.tokenizer)
    assert list(sorted(known, key=known.__getitem__))[:3] == ["[PAD]", "[UNK]", "heart"]
    assert {"red", "love", "green", "t", "shirt", "cafe"} <= set(known)
    assert found.vocabulary == len(known)


def test_a_picture_with_fewer_captions_begins_again() -> None:
    found = captions(TEXTS, TEXTS)
    assert found.tokens.shape == (3, 2, LENGTH)
    assert (found.tokens[1, 0] == found.tokens[1, 1]).all()
    assert (found.tokens[0, 0] != found.tokens[0, 1]).any()
    known = vocabulary(found.tokenizer)
    assert found.tokens[0, 0].tolist() == [known["red"], known["heart"], *[0] * (LENGTH - 2)]


def test_words_that_were_not_learnt_are_unknown() -> None:
    found = captions([["a purple heart"]], TEXTS)
    assert found.tokens[0, 0, :4].tolist() == [1, 1, vocabulary(found.tokenizer)["heart"], 0]


def test_of_a_long_caption_the_first_words_count() -> None:
    long = " ".join(["heart"] * LENGTH + ["red"])
    found = captions([[long]], TEXTS)
    assert set(found.tokens[0, 0].tolist()) == {vocabulary(found.tokenizer)["heart"]}


def test_the_same_captions_are_the_same_file() -> None:
    assert captions(TEXTS, TEXTS).tokenizer == captions(TEXTS[::-1], TEXTS[::-1]).tokenizer


@pytest.mark.parametrize("texts", [[], [["one"], []]])
def test_a_picture_without_a_caption_is_refused(texts: list[list[str]]) -> None:
    with pytest.raises(DataError, match="give each at least one"):
        captions(texts, TEXTS)


# The user's own, in an .npz.


def write(path: Path, **arrays: NDArray[Any]) -> Path:
    random = np.random.default_rng(0)
    arrays["images"] = random.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_an_npz_may_hold_captions(tmp_path: Path) -> None:
    said = np.array([["a cat", ""], ["a dog", "the dog"], ["two dogs", " "]])
    tested = np.array(["one cat", "a cow"])
    images = np.zeros((2, 8, 8), np.uint8)
    path = write(tmp_path / "said.npz", captions=said, x_test=images, test_captions=tested)
    train, test = load(path), load(path, split="test")
    assert train.captions is not None
    assert test.captions is not None
    assert train.captions.texts == (("a cat",), ("a dog", "the dog"), ("two dogs",))
    assert test.captions.tokenizer == train.captions.tokenizer
    assert test.captions.tokens[0, 0, :3].tolist() == [
        1, vocabulary(train.captions.tokenizer)["cat"], 0
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (np.array(["one", "two"]), "3 train images and captions for 2"),
        (np.array([1, 2, 3]), r"must be strings \[N\] or \[N, M\]"),
        (np.array(["one", "two", " "]), "give each at least one"),
    ],
)
def test_captions_that_do_not_fit_are_refused(
    said: NDArray[Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told):
        load(write(tmp_path / "said.npz", captions=said))
