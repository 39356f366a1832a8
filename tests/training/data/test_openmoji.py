"""OpenMoji out of its package: which glyphs, how they are drawn, and what they are called."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.glyphs import COLOURS, entries, glyph, write_openmoji
from training.data import load
from training.data.named import NAMED
from training.errors import DataError


def test_glyphs_are_drawn_in_their_colours_on_white(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(write_openmoji(tmp_path, monkeypatch), size=16)
    assert data.images.shape == (6, 16, 16, 3)
    assert data.captions is not None
    assert [texts[0] for texts in data.captions.texts] == [
        "red circle", "green circle", "black circle", "red square", "blue square", "black square"
    ]  # fmt: skip
    assert (data.images[:, 0, 0] == 255).all()
    for image, texts in zip(data.images, data.captions.texts, strict=True):
        wanted = bytes.fromhex(COLOURS[texts[0].split()[0]][1:])
        assert image[8, 8].tolist() == list(wanted)
    assert data.labels is not None
    assert {data.classes[label] for label in data.labels} == {"symbol"}
    assert data.licence == "CC-BY-SA-4.0"
    assert "OpenMoji" in data.attribution


def test_the_test_split_is_of_new_compositions_in_known_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_openmoji(tmp_path, monkeypatch)
    train, test = load(source, size=16), load(source, size=16, split="test")
    assert train.captions is not None
    assert test.captions is not None
    assert [texts[0] for texts in test.captions.texts] == ["blue circle", "green square"]
    assert test.captions.tokenizer == train.captions.tokenizer
    assert (test.captions.tokens != 1).all()


def test_the_second_caption_has_the_tags_and_no_word_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(write_openmoji(tmp_path, monkeypatch), size=16)
    assert data.captions is not None
    assert data.captions.texts[0] == ("red circle", "red circle colour geometric")


@pytest.mark.parametrize("channels", [1, 3])
def test_size_and_depth_are_as_asked_for(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_openmoji(tmp_path, monkeypatch)
    assert load(source, size=24, channels=channels).images.shape == (6, 24, 24, channels)
    assert load(source).images.shape == (6, 64, 64, 3)


def test_words_are_part_of_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = load(write_openmoji(tmp_path / "one", monkeypatch), size=16)
    renamed = [each | {"tags": "round"} for each in entries()]
    other = load(write_openmoji(tmp_path / "other", monkeypatch, renamed), size=16)
    assert np.array_equal(one.images, other.images)
    assert one.fingerprint != other.fingerprint


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_openmoji(tmp_path, monkeypatch)
    with (tmp_path / "data" / "openmoji.json").open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(DataError, match=r"not that of openmoji 17\.0\.0: npm install openmoji@17"):
        load(source)


def test_a_missing_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not NAMED["openmoji"].files.here("openmoji", "train", tmp_path)
    with pytest.raises(DataError, match="npm install openmoji@17"):
        load("openmoji")


def test_a_missing_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_openmoji(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match="pip install tokenizers"):
        load(source, size=16)


def test_a_missing_drawing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_openmoji(tmp_path, monkeypatch)
    (tmp_path / "color" / "svg" / "E0.svg").unlink()
    with pytest.raises(DataError, match=r"E0\.svg cannot be read .*install openmoji again"):
        load(source, size=16)


def test_a_name_that_leaves_the_folder_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is the known one, so that this cannot come from outside; its hash says so."""
    source = write_openmoji(tmp_path / "package", monkeypatch, [glyph("red square", "E0")] * 2)
    path = tmp_path / "package" / "data" / "openmoji.json"
    path.write_text(path.read_text().replace("E0", "../../../secret"))
    with pytest.raises(DataError, match="is not that of openmoji"):
        load(source, size=16)
