"""The blocks of the photographs: real, held out without a pixel in common, refused when changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from training.data import Split, load, photograph_blocks
from training.data.decode import with_channels
from training.data.named import NAMED
from training.data.photograph_blocks import SHA256, blocks, photographs
from training.errors import DataError

INSTALLED = Path(str(photograph_blocks._installed()))


@pytest.mark.parametrize("split", ["train", "test"])
def test_blocks_are_counted_and_labelled_by_their_photograph(split: Split) -> None:
    data = load("photograph-blocks", split=split)
    count = NAMED["photograph-blocks"].counts[split]
    assert data.images.shape == (count, 8, 8, 1)
    assert data.classes == ("china", "flower")
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [count // 2, count // 2]
    assert (data.licence, "vultilion" in data.attribution) == ("CC-BY-2.0", True)


def test_photographs_are_scikit_learn_s_in_grey() -> None:
    for name, grey in zip(SHA256, photographs(), strict=True):
        assert np.array_equal(grey, with_channels(load_sample_image(name), 1)[..., 0])


def test_training_and_held_out_blocks_come_from_different_pixels() -> None:
    """The held-out blocks, laid side by side, are the right quarter of the photograph."""
    whole = photographs()[0]
    held_out = load("photograph-blocks", split="test").images[: 53 * 20, ..., 0]
    laid = held_out.reshape(53, 20, 8, 8).transpose(0, 2, 1, 3).reshape(424, 160)
    assert np.array_equal(laid, whole[:424, 480:])
    seen = load("photograph-blocks").images[..., 0]
    assert np.array_equal(seen[0], whole[:8, :8])
    assert np.array_equal(seen[236], whole[:8, 472:480])  # the last of the first row
    assert np.array_equal(seen[237], whole[2:10, :8])


def test_blocks_follow_one_another_row_by_row() -> None:
    grey = np.arange(10 * 12, dtype=np.uint8).reshape(10, 12)
    assert [int(block[0, 0]) for block in blocks(grey, 2)] == [0, 2, 4, 24, 26, 28]


def test_a_folder_of_the_user_s_is_read_and_another_photograph_refused(tmp_path: Path) -> None:
    for name in SHA256:
        shutil.copy(INSTALLED / name, tmp_path)
    given = load(f"photograph-blocks:{tmp_path}", split="test")
    assert given.fingerprint == load("photograph-blocks", split="test").fingerprint
    (tmp_path / "flower.jpg").write_bytes((INSTALLED / "china.jpg").read_bytes())
    with pytest.raises(DataError, match=r"flower\.jpg is not the photograph"):
        load(f"photograph-blocks:{tmp_path}")
    (tmp_path / "flower.jpg").unlink()
    with pytest.raises(DataError, match=r"flower\.jpg cannot be read"):
        load(f"photograph-blocks:{tmp_path}")


def test_without_the_package_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photograph_blocks, "_installed", lambda: None)
    assert not NAMED["photograph-blocks"].files.here("photograph-blocks", "train", Path())
    with pytest.raises(DataError, match="pip install scikit-learn"):
        load("photograph-blocks")
