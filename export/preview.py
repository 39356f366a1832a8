"""The picture that shows what a bundle makes: a small grid, drawn by the exported graph itself.

A row per class where there are classes, or per example of its texts, the same latents in every row;
else a square. Always the seeds 0, 1, ..., so that anybody who has the bundle can draw it again.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.sampling import Generator, pictures
from training.grid import sheet

LIMIT_BYTES = 64 * 1024
_MOST = 10  # columns, and classes shown
_WIDTH = 320  # of the widest sheet, in pixels; larger pictures get a column each


def draw_preview(generator: Generator) -> bytes:
    """The largest grid whose PNG stays within LIMIT_BYTES."""
    for layout in layouts(generator):
        file = io.BytesIO()
        layout.save(file, "PNG", optimize=True)
        if file.tell() <= LIMIT_BYTES:
            break
    return file.getvalue()


def layouts(generator: Generator) -> Iterator[Image.Image]:
    """The grids that a preview may be, the largest first: fewer columns, then fewer pixels."""
    most = max(1, min(_MOST, _WIDTH // generator.width))
    label, text = generator.label, generator.text
    examples = text.examples[:_MOST] if text else ()
    classes = len(label.classes[:_MOST]) if label else len(examples)
    seeds = list(range(most)) * classes or list(range(most * most))
    labels = [k for k in range(classes) for _ in range(most)] if label else []
    texts = [examples[k] for k in range(len(examples)) for _ in range(most)] if not label else []
    images = pictures(generator, seeds, labels=labels, texts=texts)
    for columns in range(most, 0, -1):
        grid = sheet(_fewer(images, columns, classes), columns)
        yield grid
    while min(grid.size) > 1:
        grid = grid.reduce(2)
        yield grid


def _fewer(images: NDArray[np.uint8], columns: int, classes: int) -> NDArray[np.uint8]:
    """The first ``columns`` of each class, or a smaller square."""
    if not classes:
        return images[: columns * columns]
    grid = images.reshape(classes, -1, *images.shape[1:])[:, :columns]
    return grid.reshape(-1, *images.shape[1:])
