"""A matching network finds the texts of pictures that it knows, and chance those of others."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics.retrieval import (
    Matcher,
    MatcherSettings,
    distractors,
    retrieval_precision,
    train_matcher,
)

WORDS, THINGS, COLOURS = 14, 6, 4
SETTINGS = MatcherSettings(steps=120, batch=24, lr=5e-3)


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Each of 24 pictures is a colour and a thing; its features say which, and so does its text."""
    colour, thing = np.divmod(np.arange(COLOURS * THINGS), THINGS)
    features = np.concatenate([np.eye(COLOURS)[colour], np.eye(THINGS)[thing]], 1)
    tokens = np.zeros((len(colour), 1, 4), np.int64)
    tokens[:, 0, 0], tokens[:, 0, 1] = 2 + colour, 2 + COLOURS + thing
    return features.astype(np.float32), tokens


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return train_matcher(*pairs(), WORDS, SETTINGS)


def precision(matcher: Matcher, features: np.ndarray, own: np.ndarray, count: int = 11) -> float:
    texts = pairs()[1][:, 0]
    return retrieval_precision(matcher, features, texts, own, distractors(texts, own, count))


def test_real_pictures_find_their_texts_and_strange_ones_only_by_chance(matcher: Matcher) -> None:
    features, _ = pairs()
    own = np.arange(len(features))
    assert precision(matcher, features, own) > 0.95
    noise = np.random.default_rng(0).random((600, features.shape[1]), np.float32)
    assert precision(matcher, noise, np.arange(600) % 24) == pytest.approx(1 / 12, abs=0.06)


def test_one_picture_for_all_texts_is_found_no_more_often_than_chance(matcher: Matcher) -> None:
    features, _ = pairs()
    own = np.arange(len(features))
    assert precision(matcher, np.repeat(features[:1], 24, 0), own) <= 4 / 24


def test_the_same_pairs_make_the_same_network() -> None:
    short = MatcherSettings(steps=3, batch=8)
    one, again = (train_matcher(*pairs(), WORDS, short) for _ in range(2))
    for name, weights in one.state_dict().items():
        assert (weights == again.state_dict()[name]).all()


def test_distractors_say_something_else_and_are_always_the_same() -> None:
    texts = np.array([[2, 3], [2, 3], [4, 0], [5, 0], [4, 0]])
    own = np.array([0, 1, 2, 3])
    found = distractors(texts, own, 2)
    assert (found == distractors(texts, own, 2)).all()
    for row, others in zip(own, found, strict=True):
        assert len(set(others.tolist())) == 2
        assert all((texts[other] != texts[row]).any() for other in others)
    with pytest.raises(ValueError, match="4 other texts are asked for, and there are 3"):
        distractors(texts, own, 4)


def test_a_tie_is_not_a_find(matcher: Matcher) -> None:
    features, tokens = pairs()
    same = np.repeat(tokens[:1, 0], 3, 0)
    found = retrieval_precision(matcher, features[:1], same, np.array([0]), np.array([[1, 2]]))
    assert found == 0
