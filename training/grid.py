"""Sheets of images: sample grids, previews, contact sheets."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP = 2  # pixels between images, and around them
BACKGROUND, INK = "white", "black"
FONT_SIZE, CAPTION_HEIGHT = 10, 13


def sheet(
    images: NDArray[np.uint8],
    columns: int,
    *,
    scale: int = 1,
    captions: Sequence[str] | None = None,
) -> Image.Image:
    """Images in rows, left to right, top to bottom.

    Args:
        images: [N, H, W, C], C 1 or 3, N at least 1.
        columns: images in a row; the last row may be shorter.
        scale: each pixel becomes this many, squared, so that small images can be judged.
        captions: one below each image, cut where it is wider than its image.
    """
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    cell_width = width * scale + GAP
    cell_height = height * scale + GAP + (CAPTION_HEIGHT if captions else 0)
    size = (columns * cell_width + GAP, rows * cell_height + GAP)
    page = Image.new("L" if channels == 1 else "RGB", size, BACKGROUND)
    for k in range(count):
        left, top = GAP + k % columns * cell_width, GAP + k // columns * cell_height
        pixels = images[k, :, :, 0] if channels == 1 else images[k]
        tile = Image.fromarray(np.ascontiguousarray(pixels))
        page.paste(
            tile.resize((width * scale, height * scale), Image.Resampling.NEAREST), (left, top)
        )
        if captions:
            label = _caption(captions[k], width * scale, page.mode)
            page.paste(label, (left, top + height * scale))
    return page


def triples(
    sources: NDArray[np.uint8], made: NDArray[np.uint8], truths: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Source, output and truth of each pair, one after the other: [3 N, H, W, C], C the largest."""
    channels = max(pictures.shape[3] for pictures in (sources, made, truths))
    every = [
        np.repeat(pictures, channels // pictures.shape[3], axis=3)
        for pictures in (sources, made, truths)
    ]
    return np.stack(every, axis=1).reshape(-1, *made.shape[1:3], channels)


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG by rename: a reader sees all of it or none. Folders are made.

    Raises:
        OSError: it cannot be written, or is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        image.save(partial, "PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _caption(text: str, width: int, mode: str) -> Image.Image:
    label = Image.new(mode, (width, CAPTION_HEIGHT), BACKGROUND)
    font = ImageFont.load_default(FONT_SIZE)
    ImageDraw.Draw(label).text((0, 0), text, INK, font)
    return label
