"""The FCN-score against confusions that were counted by hand, and colours as classes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from training.data.street_scenes import PALETTE, street_scene
from training.metrics.segmentation import (
    classes_of,
    confusion,
    palette_of,
    segmentation,
)


def test_a_confusion_is_counted_by_rows_of_the_truth() -> None:
    truth = np.array([[[0, 0, 1], [2, 2, 2]]])
    found = np.array([[[0, 1, 1], [2, 0, 2]]])
    assert confusion(truth, found, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_maps_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        confusion(np.zeros((2, 3), int), np.zeros((3, 2), int), 2)


@pytest.mark.parametrize(
    ("counts", "pixel", "class_", "iou"),
    [
        # 3 of 4, 1 of 2 and 2 of 2 pixels; unions of 5, 3 and 2 pixels.
        (
            [[3, 1, 0], [1, 1, 0], [0, 0, 2]],
            6 / 8,
            (3 / 4 + 1 / 2 + 1) / 3,
            (3 / 5 + 1 / 3 + 1) / 3,
        ),
        ([[4, 0], [0, 6]], 1, 1, 1),
        ([[0, 4], [6, 0]], 0, 0, 0),
        # The second class is nowhere: it is in no average.
        ([[2, 0, 2], [0, 0, 0], [0, 0, 4]], 6 / 8, (1 / 2 + 1) / 2, (2 / 4 + 4 / 6) / 2),
        # It is found, but not there: no accuracy, an intersection over union of nothing.
        ([[3, 1], [0, 0]], 3 / 4, 3 / 4, (3 / 4 + 0) / 2),
        # Always the largest class.
        ([[90, 0], [10, 0]], 0.9, 0.5, 0.45),
    ],
)
def test_the_three_figures(
    counts: list[list[int]], pixel: float, class_: float, iou: float
) -> None:
    found = segmentation(np.array(counts))
    figures = (found.pixel_accuracy, found.class_accuracy, found.class_iou)
    assert figures == pytest.approx((pixel, class_, iou))


def test_colours_are_classes_and_back() -> None:
    maps = np.random.default_rng(0).integers(0, len(PALETTE), (3, 20, 20))
    assert np.array_equal(classes_of(PALETTE[maps], PALETTE), maps)
    palette = palette_of(PALETTE[maps])
    assert sorted(map(tuple, palette.tolist())) == sorted(map(tuple, PALETTE.tolist()))


def test_a_blend_is_of_the_nearest_class_and_no_class_of_its_own() -> None:
    black_and_white = np.zeros((1, 50, 50, 1), np.uint8)
    black_and_white[:, 25:] = 255
    black_and_white[0, 25, 0] = 100
    black_and_white[0, 25, 1] = 200
    palette = palette_of(black_and_white)
    assert palette.tolist() == [[0], [255]]
    found = classes_of(black_and_white, palette)
    assert found[0, 25, :3].tolist() == [0, 1, 1]


@pytest.mark.parametrize("kind", ["scaled", "jpeg"])
def test_scaled_and_jpeg_maps_have_the_classes_that_were_drawn(kind: str) -> None:
    scenes = [PALETTE[street_scene(128, seed).labels] for seed in range(12)]
    assert len({tuple(pixel) for scene in scenes for pixel in scene.reshape(-1, 3)}) == len(PALETTE)
    found = []
    for scene in scenes:
        stream, picture = io.BytesIO(), Image.fromarray(scene)
        if kind == "scaled":
            picture = picture.resize((80, 80), Image.Resampling.BOX)
        picture.save(stream, "PNG" if kind == "scaled" else "JPEG", quality=92)
        found.append(np.asarray(Image.open(stream).convert("RGB")))
    palette = palette_of(np.stack(found))
    nearest = classes_of(palette[None], PALETTE)[0]
    assert sorted(nearest.tolist()) == list(range(len(PALETTE)))
    assert np.abs(palette.astype(int) - PALETTE[nearest]).max() <= 8


def test_photographs_are_no_maps() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="one for each class"):
        palette_of(noise)
    scenes = np.stack([street_scene(64, seed).photograph for seed in range(4)])
    with pytest.raises(ValueError, match="one for each class"):
        palette_of(scenes)
    with pytest.raises(ValueError, match="one for each class"):
        palette_of(np.zeros((1, 8, 8, 3), np.uint8))
