"""From relative paths to classes and splits."""

from __future__ import annotations

import pytest

from training.data.layout import Layout, arrange


def paths(*names: str) -> list[tuple[str, ...]]:
    return [tuple(name.split("/")) for name in names]


def test_subfolders_are_classes_at_any_depth() -> None:
    layout = arrange(paths("cat/1", "cat/old/2", "dog/3"), "train")
    assert layout == Layout([0, 1, 2], [0, 0, 1], ("cat", "dog"), [])


@pytest.mark.parametrize(
    "names",
    [
        ("1", "2"),
        ("cat/1", "cat/2"),
        ("photos/all/1", "photos/all/2"),
        ("1", "more/2"),  # one folder tells nothing apart: everything is used
    ],
)
def test_fewer_than_two_classes_are_no_labels(names: tuple[str, ...]) -> None:
    assert arrange(paths(*names), "train") == Layout([0, 1], None, (), [])


def test_wrapping_folders_are_looked_through() -> None:
    layout = arrange(paths("set/data/cat/1", "set/data/dog/2"), "train")
    assert layout.classes == ("cat", "dog")


def test_pictures_beside_class_folders_are_strays() -> None:
    layout = arrange(paths("cover", "cat/1", "dog/2"), "train")
    assert layout == Layout([1, 2], [0, 1], ("cat", "dog"), [0])


def test_split_folders_are_splits_and_share_their_classes() -> None:
    names = paths("x/Train/b/1", "x/Train/c/2", "x/test/a/3", "x/test/c/4", "x/val/b/5", "x/cover")
    assert arrange(names, "train") == Layout([0, 1], [1, 2], ("a", "b", "c"), [5])
    assert arrange(names, "test") == Layout([2, 3], [0, 2], ("a", "b", "c"), [5])


def test_split_folders_without_classes() -> None:
    names = paths("test/1", "train/2", "train/3")
    assert arrange(names, "train") == Layout([1, 2], None, (), [])
    assert arrange(names, "test") == Layout([0], None, (), [])


def test_a_class_called_train_among_others_is_a_class() -> None:
    assert arrange(paths("bus/1", "train/2"), "train").classes == ("bus", "train")


def test_without_split_folders_there_is_no_test_split() -> None:
    assert arrange(paths("cat/1", "dog/2"), "test").rows == []


def test_class_names_are_composed_and_printable() -> None:
    layout = arrange(paths("cafe\u0301/1", "caf\u00e9/2", "b\udcff\n/3"), "train")
    assert layout.classes == ("b\\udcff\\u000a", "caf\u00e9")
    assert layout.labels == [1, 1, 0]


def test_nothing_is_nothing() -> None:
    assert arrange([], "train") == Layout([], None, (), [])
