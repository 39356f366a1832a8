"""What streets are painted on: pixels with their coordinates, smooth noise, and the camera."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
Random = np.random.Generator

OVER = 2  # photographs are drawn so many times as large, and shrunk
FAR = 14.0  # where the street ends
BLURRED = 0.25  # weight of the four neighbours, in the lens


@dataclass
class Canvas:
    """A picture that is painted from the back to the front, with the coordinates of its pixels."""

    random: Random
    x: Floats  # [S, S], right of the vanishing point, in shares of the picture's side
    y: Floats  # below it
    labels: NDArray[np.uint8]
    colours: Floats  # [S, S, 3], light in [0, 1]
    distance: Floats  # [S, S], Z
    noises: dict[int, Floats] = field(default_factory=dict)

    def paint(
        self, mask: Mask, label: int | None, colours: Floats, distance: float | Floats
    ) -> None:
        """Lay something over the P pixels of a mask; without a label it changes the looks alone.

        Args:
            mask: [S, S].
            label: what it is.
            colours: [3], or [P, 3].
            distance: of all, or [P].
        """
        if label is not None:
            self.labels[mask] = label
        self.colours[mask] = colours
        self.distance[mask] = distance

    def noise(self, cells: int) -> Floats:
        """Smooth noise, [S, S] in [0, 1], of so many cells a side; one of each in a scene."""
        if cells not in self.noises:
            self.noises[cells] = self._new_noise(cells)
        return self.noises[cells]

    def _new_noise(self, cells: int) -> Floats:
        side = len(self.x)
        grid = self.random.random((cells + 2, cells + 2), np.float32)
        at = np.arange(side, dtype=np.float32) * (cells / side)
        low = at.astype(int)
        share = at - low
        share = share * share * (3 - 2 * share)
        rows = grid[low] * (1 - share[:, None]) + grid[low + 1] * share[:, None]
        smooth: Floats = rows[:, low] * (1 - share) + rows[:, low + 1] * share
        return smooth

    def rough(self, cells: int) -> Floats:
        """The same at three scales: a fractal."""
        return (4 * self.noise(cells) + 2 * self.noise(2 * cells) + self.noise(4 * cells)) / 7


def empty_canvas(side: int, random: Random) -> Canvas:
    """Nothing yet, seen from a height and a place across the street that are drawn."""
    vanishing_x, vanishing_y = random.uniform(0.35, 0.65), random.uniform(0.36, 0.5)
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(steps - vanishing_x, steps - vanishing_y)
    shape = (side, side)
    colours = np.zeros((*shape, 3), np.float32)
    return Canvas(random, x, y, np.zeros(shape, np.uint8), colours, np.full(shape, FAR, np.float32))


def colour(*levels: float) -> Floats:
    """Red, green and blue."""
    return np.array(levels, np.float32)


def varied(random: Random, colour: Floats, by: float) -> Floats:
    """The colour, each level moved by at most ``by``."""
    return np.clip(colour + random.uniform(-by, by, 3).astype(np.float32), 0.02, 1)


def photograph(canvas: Canvas) -> NDArray[np.uint8]:
    """What a camera makes of it, in haze, with a tint, a lens and grain: uint8, shrunk by OVER."""
    random = canvas.random
    tint = colour(1, 1, 1) + random.uniform(-0.1, 0.1) * colour(1, 0.1, -1)
    haze, thickness = random.uniform(0.6, 0.9), random.uniform(0.01, 0.07)
    through = np.exp(-thickness * canvas.distance)[..., None]
    seen = (canvas.colours * through + haze * (1 - through)) * tint * random.uniform(0.75, 1.2)
    vignette = 1 - 0.35 * (canvas.x**2 + canvas.y**2)
    light = np.clip(seen * vignette[..., None], 0, 1.2)
    side = len(light) // OVER
    small = light.reshape(side, OVER, side, OVER, 3).mean(axis=(1, 3))
    padded = np.pad(small, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = (padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]) / 4
    small = (1 - BLURRED) * small + BLURRED * around
    grain = random.normal(0, 1, small.shape) * (0.012 + 0.02 * np.sqrt(np.clip(small, 0, 1)))
    taken: NDArray[np.uint8] = (255 * np.clip(small + grain, 0, 1)).round().astype(np.uint8)
    return taken
