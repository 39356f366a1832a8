"""Bundles by name, version and path."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.catalogue import find
from export.errors import InvalidChoice, UnknownBundle
from tests.tiny import tiny_bundle


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name, version in (("cats", 1), ("cats", 10), ("cats", 9), ("dogs", 2)):
        tiny_bundle(tmp_path / "models", name=name, version=version)
    return tmp_path / "models"


def test_name_is_the_newest_version(models: Path) -> None:
    assert find("cats", [models]) == models / "cats" / "10"


def test_name_and_version(models: Path) -> None:
    assert find("cats", [models], 9) == models / "cats" / "9"


def test_path_of_a_bundle(models: Path) -> None:
    assert find(str(models / "cats" / "1"), []) == models / "cats" / "1"


def test_path_of_a_bundle_of_another_version(models: Path) -> None:
    assert find(str(models / "cats" / "9"), [], 9) == models / "cats" / "9"
    with pytest.raises(InvalidChoice, match="is version 9, not 1"):
        find(str(models / "cats" / "9"), [], 1)


def test_path_of_a_model(models: Path) -> None:
    assert find(str(models / "cats"), []) == models / "cats" / "10"
    assert find(f"{models}/cats/", [], 1) == models / "cats" / "1"


def test_first_folder_that_has_it_decides(models: Path, tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "first", name="cats", version=3)
    assert find("cats", [tmp_path / "first", models]) == tmp_path / "first" / "cats" / "3"


def test_missing_version_lists_those_there_are(models: Path) -> None:
    with pytest.raises(UnknownBundle, match="no version 2, only 1, 9, 10"):
        find("cats", [models], 2)


def test_missing_name_lists_those_there_are(models: Path) -> None:
    with pytest.raises(UnknownBundle, match=r"did you mean 'cats'\? .*has cats, dogs"):
        find("cat", [models])


def test_no_bundles_at_all(tmp_path: Path) -> None:
    with pytest.raises(UnknownBundle, match="has no bundles"):
        find("cats", [tmp_path])
