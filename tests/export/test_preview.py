"""The preview: its layout, its seeds, and its size in bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from export.manifest import ImageOutput, Input, Label, Latent
from export.preview import LIMIT_BYTES, draw_preview, layouts
from export.rows import Rows
from export.sampling import Generator
from training.grid import sheet


class Labelled:
    """A graph whose pictures are flat: the class, and the first number of z."""

    def __init__(self, side: int, channels: int = 1, noise: bool = False) -> None:
        self.side, self.channels, self.noise = side, channels, noise
        self.seen: list[tuple[float, int]] = []

    def __call__(self, rows: Rows) -> Rows:
        first = rows["z"][:, 0]
        labels = rows.get("label", np.zeros(len(first), np.int64))
        self.seen += list(zip(first.tolist(), labels.tolist(), strict=True))
        levels = 20 * labels + np.abs(first * 5)
        shape = (len(first), self.side, self.side, self.channels)
        image = np.broadcast_to(levels.astype(np.uint8)[:, None, None, None], shape)
        if self.noise:
            image = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        return {"image": image}


def generator(run: Labelled, classes: int) -> Generator:
    inputs: tuple[Input, ...] = (Latent(name="z", shape=(4,)),)
    if classes:
        inputs += (Label(name="label", classes=tuple(str(k) for k in range(classes))),)
    output = ImageOutput(name="image", channels=1 if run.channels == 1 else 3)
    return Generator(run, inputs, (output,), run.side, run.side)


def opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file))


def test_row_per_class_with_the_same_latents() -> None:
    run = Labelled(28)
    file = draw_preview(generator(run, 4))
    columns = len(run.seen) // 4
    assert columns == 10
    for k, (first, label) in enumerate(run.seen):
        assert label == k // columns
        assert first == run.seen[k % columns][0]
    assert opened(file).size == sheet(np.zeros((40, 28, 28, 1), np.uint8), 10).size


def test_square_without_classes() -> None:
    run = Labelled(28)
    image = opened(draw_preview(generator(run, 0)))
    assert len(run.seen) == 100
    assert len({first for first, _ in run.seen}) == 100
    assert image.width == image.height


def test_at_most_ten_classes_are_shown() -> None:
    run = Labelled(8)
    draw_preview(generator(run, 1000))
    assert {label for _, label in run.seen} == set(range(10))


@pytest.mark.parametrize(("side", "channels"), [(32, 1), (32, 3), (64, 3), (256, 3)])
def test_noise_stays_within_the_limit(side: int, channels: int) -> None:
    """Nothing compresses worse, so that no generator's preview is larger."""
    file = draw_preview(generator(Labelled(side, channels, noise=True), 10))
    assert len(file) <= LIMIT_BYTES
    assert opened(file).format == "PNG"


def test_large_pictures_get_few_columns() -> None:
    run = Labelled(300, 3)
    draw_preview(generator(run, 2))
    assert len(run.seen) == 2


def test_layouts_shrink() -> None:
    areas = [grid.width * grid.height for grid in layouts(generator(Labelled(32), 3))]
    assert areas == sorted(areas, reverse=True)
    assert len(set(areas)) == len(areas)
