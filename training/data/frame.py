"""A drawing seen so that its ink fills as much of the picture as that of any other."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from training.data.dataset import Images

FORMAT = 1  # of what is seen: raise it when that changes
LOOK = 144  # side in pixels of the picture that shows where the ink is
PAPER = 250  # a level from which on a pixel is white
MARGIN = 1 / 16  # of the picture's side, around the ink
VIEW = re.compile(r'viewBox="([^"]*)"')


def around_ink(drawing: str, paint: Callable[[str, int], Images]) -> str:
    """The SVG with another view box: the square around its ink, and a margin.

    Args:
        drawing: SVG with a square view box.
        paint: a drawing and a side to its picture [side, side, 3].
    """
    found = VIEW.search(drawing)
    ink = np.argwhere((paint(drawing, LOOK) < PAPER).any(2))
    if found is None or not len(ink):
        return drawing
    left, top, width, _ = map(float, found[1].replace(",", " ").split())
    unit = width / LOOK
    lowest, highest = ink.min(0), ink.max(0) + 1
    side = float((highest - lowest).max()) / (1 - 2 * MARGIN)
    corner = (lowest + highest - side) / 2 * unit
    numbers = (left + corner[1], top + corner[0], side * unit, side * unit)
    view = f'viewBox="{" ".join(f"{number:.4g}" for number in numbers)}"'
    return drawing[: found.start()] + view + drawing[found.end() :]
