"""Maps of streets and photographs of them: of their seed alone, and of one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training import data
from training.data import streets
from training.data.street_canvas import FAR, empty_canvas
from training.data.street_scenes import (
    BUILDING,
    CLASSES,
    PALETTE,
    ROAD,
    SKY,
    VEGETATION,
    Scene,
    street_scene,
)

SIDE = 32


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [street_scene(SIDE, seed) for seed in range(40)]


def test_a_seed_is_a_scene(scenes: list[Scene]) -> None:
    again, other = street_scene(SIDE, 3), scenes[4]
    assert np.array_equal(again.labels, scenes[3].labels)
    assert np.array_equal(again.photograph, scenes[3].photograph)
    assert not np.array_equal(other.labels, scenes[3].labels)


def test_every_class_is_to_be_seen_and_none_is_all(scenes: list[Scene]) -> None:
    labels = np.stack([scene.labels for scene in scenes])
    shares = np.bincount(labels.ravel(), minlength=len(CLASSES)) / labels.size
    assert len(shares) == len(CLASSES) == len(PALETTE)
    assert shares.min() > 0.002
    assert shares.max() < 0.5


def test_streets_are_laid_out_as_streets_are(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.labels.shape == scene.photograph.shape[:2] == (SIDE, SIDE)
        heights = {c: np.mean(np.nonzero(scene.labels == c)[0]) for c in (ROAD, SKY)}
        assert heights[ROAD] > SIDE / 2 > heights[SKY]
        assert (scene.labels[-1, SIDE // 4 : -SIDE // 4] != SKY).all()


def test_the_photograph_shows_what_the_map_says(scenes: list[Scene]) -> None:
    labels = np.stack([scene.labels for scene in scenes])
    colours = np.stack([scene.photograph for scene in scenes]).astype(float)
    leaves, sky = colours[labels == VEGETATION].mean(0), colours[labels == SKY].mean(0)
    assert leaves[1] > leaves[0] > leaves[2]
    assert sky.min() > colours[labels == ROAD].mean(0).max() + 30
    # Light and colours are the photograph's own: the map does not tell them.
    walls = [colours[k][labels[k] == BUILDING].mean(0) for k in range(len(scenes))]
    assert np.std(walls, axis=0).min() > 8


def test_far_things_are_seen_through_haze() -> None:
    canvas = empty_canvas(SIDE, np.random.default_rng(0))
    assert (canvas.distance == FAR).all()
    assert canvas.noise(4) is canvas.noise(4)
    assert 0 <= canvas.rough(4).min() < canvas.rough(4).max() <= 1


def test_the_set_has_the_maps_as_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(streets, "COUNTS", {"train": 5, "test": 4})
    train, test = (
        data.load("streets", split=split, size=16, cache=tmp_path) for split in ("train", "test")
    )
    assert train.sources is not None
    assert test.sources is not None
    assert train.images.shape == train.sources.shape == (5, 16, 16, 3)
    colours = {tuple(colour) for colour in train.sources.reshape(-1, 3).tolist()}
    assert colours <= {tuple(colour) for colour in PALETTE.tolist()}
    scene = street_scene(16, 1)
    assert np.array_equal(train.images[1], scene.photograph)
    assert np.array_equal(train.sources[1], PALETTE[scene.labels])
    shown = {picture.tobytes() for picture in train.images}
    assert not shown & {picture.tobytes() for picture in test.images}
