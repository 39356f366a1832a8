"""Texts as token ids: what is read, what is refused, and what a broken file says."""

from __future__ import annotations

import json
import sys

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from export.manifest import Label, Latent, Text
from export.tokens import TextRefused, TokenizerUnusable, Words, find_words
from training.data.captions import word_tokenizer

FILE = word_tokenizer([["red heart"], ["cat face", "a red cat"]]).to_str().encode()
VOCABULARY = json.loads(FILE)["model"]["vocab"]


@pytest.fixture(scope="module")
def words() -> Words:
    return Words(FILE, 4)


def test_a_text_is_its_words_then_zeros(words: Words) -> None:
    expected = (VOCABULARY["red"], VOCABULARY["heart"], 0, 0)
    for text in ("red heart", "Red  HEART!", "\tr\u00e9d-heart"):
        assert words.read(text).ids == expected
        assert words.read(text).unknown == ()
    assert words.read("heart red").ids != expected


def test_a_word_that_is_not_known_is_read_as_unknown_and_told(words: Words) -> None:
    found = words.read("a Purple heart, please")
    assert found.ids == (VOCABULARY["a"], 1, VOCABULARY["heart"], 1)
    assert found.unknown == ("Purple", "please")


@pytest.mark.parametrize("text", ["", "  ", "?!", "\U0001f44b"])
def test_a_text_without_words_is_refused(words: Words, text: str) -> None:
    with pytest.raises(TextRefused, match="holds no word: say what to show"):
        words.read(text)


def test_a_text_of_unknown_words_is_refused_with_the_nearest(words: Words) -> None:
    with pytest.raises(TextRefused, match=r"no word that the model knows: not 'hart' \(near 'he"):
        words.read("hart")
    with pytest.raises(TextRefused, match=r"not 'xyzzy'$"):
        words.read("xyzzy")
    with pytest.raises(TextRefused, match=r"not 'geart'$"):  # near is what begins alike
        words.read("geart")


def test_a_refusal_of_much_is_short(words: Words) -> None:
    with pytest.raises(TextRefused) as caught:
        words.read(" ".join(["z" * 500] * 100))
    assert len(str(caught.value)) < 500


def test_a_text_of_more_words_than_are_read_is_refused(words: Words) -> None:
    assert len(words.read("red red red cat").ids) == 4
    with pytest.raises(TextRefused, match="has 5 words: the model reads 4"):
        words.read("red red red red cat")


def test_padding_in_the_file_does_not_count() -> None:
    assert json.loads(FILE)["padding"] is not None
    assert json.loads(FILE)["truncation"] is not None
    assert len(Words(FILE, 20).read("cat").ids) == 20


def test_any_tokenizer_of_the_library_is_taken() -> None:
    pieces = Tokenizer(BPE({"[PAD]": 0, "c": 1, "a": 2, "t": 3, "at": 4}, [("a", "t")]))
    assert Words(pieces.to_str().encode(), 3).read("cat").ids == (1, 4, 0)


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"\xff\xfe"])
def test_a_broken_file_is_named(content: bytes) -> None:
    with pytest.raises(TokenizerUnusable, match=r"words\.json is no tokenizer file"):
        Words(content, 4, "words.json")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TokenizerUnusable, match=r"pip install tokenizers"):
        Words(FILE, 4)


def test_words_are_those_of_the_text_input() -> None:
    z, label = Latent(name="z", shape=(2,)), Label(name="label", classes=("a", "b"))
    text = Text(name="text", tokenizer="t.json", length=3)
    assert find_words([z, label], {"t.json": FILE}.__getitem__) is None
    found = find_words([z, text], {"t.json": FILE}.__getitem__)
    assert found is not None
    assert len(found.read("cat").ids) == 3
