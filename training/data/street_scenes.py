"""Streets out of a seed: a map of what is where, and a photograph of it.

The eye looks along a street, from one unit above the ground. A point X to the right, Y down and Z
ahead is seen at (X / Z, Y / Z) from the vanishing point, so ground and walls have coordinates of
their own, in which asphalt, tiles and windows are drawn. What the map does not tell (colours,
windows, light, weather, noise) is drawn anew for each scene: one map has many photographs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.street_canvas import (
    FAR,
    OVER,
    Canvas,
    Floats,
    Mask,
    colour,
    empty_canvas,
    photograph,
    varied,
)

CLASSES = ("road", "sidewalk", "building", "sky", "vegetation", "car", "person", "pole")
ROAD, SIDEWALK, BUILDING, SKY, VEGETATION, CAR, PERSON, POLE = range(len(CLASSES))
PALETTE: NDArray[np.uint8] = np.array(
    [
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (70, 130, 180),
        (107, 142, 35),
        (0, 0, 142),
        (220, 20, 60),
        (153, 153, 153),
    ],
    np.uint8,
)
"""The colours of the classes, as the Cityscapes data set has them."""


class Scene(NamedTuple):
    """What is where, and how it looks.

    Args:
        labels: uint8 [side, side], indices of CLASSES.
        photograph: uint8 [side, side, 3].
    """

    labels: NDArray[np.uint8]
    photograph: NDArray[np.uint8]


def street_scene(side: int, seed: int) -> Scene:
    """The scene of a seed, in pixels a side."""
    random = np.random.Generator(np.random.Philox(key=seed))
    canvas = empty_canvas(OVER * side, random)
    half_road, half_street = random.uniform(0.9, 1.5), random.uniform(1.9, 2.6)
    _paint_sky(canvas)
    _paint_skyline(canvas)
    for right in (False, True):
        if random.random() < 0.75:
            _paint_facades(canvas, right, half_street)
        else:
            _paint_hedge(canvas, right, half_street)
    _paint_ground(canvas, half_road, half_street)
    standing = [
        *[_tree] * random.integers(0, 4),
        *[_pole] * random.integers(1, 4),
        *[_person] * random.integers(0, 4),
        *[_car] * random.integers(1, 5),
    ]
    places = sorted((random.uniform(1.3, 7) for _ in standing), reverse=True)  # far ones first
    for z, kind in zip(places, random.permutation(len(standing)), strict=True):
        standing[kind](canvas, z, half_road, half_street)
    return Scene(canvas.labels[::OVER, ::OVER].copy(), photograph(canvas))


# --- What is far. ---


def _paint_sky(canvas: Canvas) -> None:
    random = canvas.random
    zenith, horizon = (
        (colour(0.25, 0.45, 0.85), colour(0.75, 0.85, 0.95)),
        (colour(0.6, 0.63, 0.68), colour(0.8, 0.81, 0.83)),
        (colour(0.35, 0.4, 0.65), colour(1.0, 0.75, 0.5)),
    )[random.integers(3)]
    height = np.clip(-canvas.y / 0.5, 0, 1)[..., None]
    sky = horizon + (zenith - horizon) * height
    clouds = np.clip((canvas.rough(4) - random.uniform(0.4, 0.7)) * 4, 0, 1)[..., None]
    sky = sky + (0.95 - sky) * clouds
    canvas.paint(np.ones(canvas.x.shape, bool), SKY, sky.reshape(-1, 3), 0.0)


def _paint_skyline(canvas: Canvas) -> None:
    random = canvas.random
    lit = (np.sin(canvas.x * 220) > 0.2) & (np.sin(canvas.y * 260) > 0.2)
    left = -0.7
    while left < 0.7:
        width, height = random.uniform(0.05, 0.15), random.uniform(0.03, 0.16)
        mask = (canvas.x >= left) & (canvas.x < left + width) & (canvas.y > -height)
        wall = varied(random, colour(0.5, 0.47, 0.45), 0.12)
        canvas.paint(mask, BUILDING, wall * (1 - 0.35 * lit[mask][:, None]), FAR)
        left += width


# --- What stands along the street: Z follows from X, and the height from Y. ---


def _side(canvas: Canvas, right: bool, half_street: float) -> tuple[Mask, Floats, Floats]:
    """Where a wall along the street is seen; Z, and the height above the ground, of its pixels."""
    x = canvas.x if right else -canvas.x
    z = half_street * 0.5 / np.maximum(x, 1e-3)
    height = 1 - 2 * canvas.y * z
    return (x > 0) & (z < FAR) & (height > 0), z, height


def _paint_facades(canvas: Canvas, right: bool, half_street: float) -> None:
    random = canvas.random
    seen, z, height = _side(canvas, right, half_street)
    light, plaster = random.uniform(0.6, 1.1), canvas.rough(16)
    start = random.uniform(0.3, 1.2)
    while start < FAR:
        length, top = random.uniform(0.8, 2.5), random.uniform(1.8, 6.5)
        mask = seen & (z >= start) & (z < start + length) & (height < top)
        tones = ((0.72, 0.6, 0.48), (0.6, 0.33, 0.25), (0.75, 0.73, 0.68), (0.42, 0.45, 0.5))
        wall = light * varied(random, colour(*tones[random.integers(4)]), 0.1)
        far, up = z[mask], height[mask]
        colours = wall * (0.85 + 0.3 * plaster[mask])[:, None]
        along, storeys = (far - start) * random.uniform(2.5, 4), up * random.uniform(1.2, 2)
        window = (np.abs(along % 1 - 0.5) < 0.28) & (np.abs(storeys % 1 - 0.5) < 0.3) & (up > 0.5)
        glass = random.uniform(0.1, 0.45) * colour(0.8, 0.9, 1.0)
        glint = np.sin(np.floor(along) * 12.9898 + np.floor(storeys) * 78.233) > 0.6
        colours[window] = (glass + 0.3 * glint[:, None])[window]
        canvas.paint(mask, BUILDING, colours, far)
        if random.random() < 0.15:
            start += random.uniform(0.2, 0.8)  # a gap, through which the sky is seen
        start += length


def _paint_hedge(canvas: Canvas, right: bool, half_street: float) -> None:
    seen, z, height = _side(canvas, right, half_street)
    top = canvas.random.uniform(0.9, 3.0) + 1.2 * (canvas.rough(12) - 0.5)
    hedge = seen & (height < top)
    canvas.paint(hedge, VEGETATION, _leaves(canvas, hedge), z[hedge])


def _leaves(canvas: Canvas, mask: Mask) -> Floats:
    green = varied(canvas.random, colour(0.24, 0.38, 0.13), 0.07)
    light = 0.35 + 1.3 * (canvas.rough(24) * canvas.noise(90))[mask]
    return (green * light[:, None]).astype(np.float32)


# --- The ground: Z follows from Y. ---


def _paint_ground(canvas: Canvas, half_road: float, half_street: float) -> None:
    random = canvas.random
    below = canvas.y > 0.5 / FAR
    z = 0.5 / np.maximum(canvas.y, 1e-3)
    across = 2 * canvas.x * z
    walk = varied(random, colour(0.62, 0.6, 0.57), 0.07)
    gaps = (np.abs(across * 3 % 1 - 0.5) > 0.46) | (np.abs(z * 3 % 1 - 0.5) > 0.46)
    tiles = walk * (0.85 + 0.25 * canvas.rough(20) - 0.2 * gaps)[..., None]
    sidewalk, road = below & (np.abs(across) < half_street), below & (np.abs(across) < half_road)
    canvas.paint(sidewalk, SIDEWALK, tiles[sidewalk], z[sidewalk])
    asphalt = varied(random, colour(0.3, 0.3, 0.31), 0.06)
    surface = asphalt * (0.75 + 0.35 * canvas.rough(14) + 0.15 * canvas.noise(90))[..., None]
    lane = (np.abs(across) < 0.05) & (z * random.uniform(0.8, 1.6) % 1 < 0.55)
    edge = np.abs(np.abs(across) - half_road + 0.1) < 0.03
    surface[lane | (edge & (random.random() < 0.6))] = colour(0.85, 0.85, 0.8)
    canvas.paint(road, ROAD, surface[road], z[road])
    kerb = below & (np.abs(np.abs(across) - half_road) < 0.06)
    canvas.paint(kerb, None, colour(0.72, 0.71, 0.69), z[kerb])


# --- What stands on it, at a distance Z. ---


def _local(canvas: Canvas, place: float, z: float) -> tuple[Floats, Floats]:
    """Coordinates of a thing at a place across the street: right of it, above its ground."""
    return 2 * canvas.x * z - place, 1 - 2 * canvas.y * z


def _beside(canvas: Canvas, half_road: float, half_street: float) -> float:
    """A place on one of the sidewalks."""
    place = canvas.random.uniform(half_road + 0.15, half_street - 0.1)
    return float(place if canvas.random.random() < 0.5 else -place)


def _tree(canvas: Canvas, z: float, half_road: float, half_street: float) -> None:
    random = canvas.random
    right, up = _local(canvas, _beside(canvas, half_road, half_street), z)
    trunk = (np.abs(right) < 0.07) & (up > 0) & (up < 1.3)
    bark = colour(0.3, 0.22, 0.15) * (0.7 + 0.6 * canvas.noise(40)[trunk])[:, None]
    canvas.paint(trunk, VEGETATION, bark, z)
    middle, radius = random.uniform(1.5, 2.1), random.uniform(0.55, 0.95)
    ragged = radius * (0.75 + 0.5 * canvas.rough(16))
    crown = np.hypot(right, up - middle) < ragged
    canvas.paint(crown, VEGETATION, _leaves(canvas, crown), z)


def _pole(canvas: Canvas, z: float, half_road: float, half_street: float) -> None:
    random = canvas.random
    place = _beside(canvas, half_road, half_road + 0.3)
    right, up = _local(canvas, place, z)
    top = random.uniform(1.6, 2.8)
    metal = varied(random, colour(0.35, 0.36, 0.37), 0.15)
    arm = (np.abs(up - top) < 0.06) & (right * -np.sign(place) > 0) & (np.abs(right) < 0.5)
    mask = ((np.abs(right) < 0.055) & (up > 0) & (up < top)) | arm
    canvas.paint(mask, POLE, metal, z)


def _person(canvas: Canvas, z: float, half_road: float, half_street: float) -> None:
    random = canvas.random
    right, up = _local(canvas, _beside(canvas, half_road, half_street), z)
    tall = random.uniform(0.8, 1.05)
    right, up = right / tall, up / tall
    legs = (np.abs(np.abs(right) - 0.08) < 0.055) & (up > 0) & (up < 0.45)
    body = (np.abs(right) < 0.17) & (up >= 0.42) & (up < 0.82)
    head = np.hypot(right, up - 0.91) < 0.09
    for mask, cloth in (
        (legs, random.uniform(0.05, 0.4, 3)),
        (body, random.uniform(0.05, 0.9, 3)),
        (head, colour(0.75, 0.55, 0.45) * random.uniform(0.5, 1.1)),
    ):
        canvas.paint(mask, PERSON, np.asarray(cloth, np.float32), z)


def _car(canvas: Canvas, z: float, half_road: float, half_street: float) -> None:
    random = canvas.random
    oncoming = random.random() < 0.5
    place = float(random.uniform(0.35, half_road - 0.3)) * (-1 if oncoming else 1)
    right, up = _local(canvas, place, z)
    shadow = (np.abs(right) < 0.48) & (np.abs(up + 0.02) < 0.06)
    canvas.paint(shadow & (canvas.labels == ROAD), None, colour(0.06, 0.06, 0.07), z)
    paints = (
        (0.75, 0.1, 0.1),
        (0.9, 0.9, 0.9),
        (0.08, 0.08, 0.1),
        (0.15, 0.25, 0.6),
        (0.6, 0.6, 0.6),
    )
    paint = varied(random, colour(*paints[random.integers(5)]), 0.06)
    body = (np.abs(right) < 0.42) & (up > 0.1) & (up < 0.45)
    cabin = (np.abs(right) < 0.36 - 0.5 * np.maximum(up - 0.45, 0)) & (up >= 0.44) & (up < 0.72)
    wheels = (np.abs(np.abs(right) - 0.33) < 0.08) & (up > 0) & (up < 0.2)
    whole = body | cabin
    shade = paint * (0.55 + 1.1 * np.clip(up[whole], 0, 0.7))[:, None]
    canvas.paint(wheels, CAR, colour(0.05, 0.05, 0.05), z)
    canvas.paint(whole, CAR, shade.astype(np.float32), z)
    glass = (
        cabin & (np.abs(right) < 0.29 - 0.4 * np.maximum(up - 0.5, 0)) & (up > 0.48) & (up < 0.67)
    )
    canvas.paint(glass, CAR, colour(0.2, 0.25, 0.3), z)
    lamp = (np.abs(np.abs(right) - 0.33) < 0.06) & (np.abs(up - 0.34) < 0.045)
    canvas.paint(lamp, CAR, colour(1, 1, 0.85) if oncoming else colour(0.9, 0.1, 0.05), z)
