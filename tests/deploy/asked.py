"""Requests that a server of archives must answer as the service does, and what "as" means."""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from typing import Any

import numpy as np
from PIL import Image

from service.images import Pixels
from tests.service.pictures import decode

Row = dict[str, Any]


def png(height: int = 8, width: int = 8) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


TEXT = b64encode(png()).decode()
ANIMALS: list[Row] = [
    {"seed": 7, "num_images": 3},
    {"seed": 8, "label": "fox", "format": "webp", "quality": 40},
    {"seed": 2**53 - 1, "num_images": 2, "label": ["CAT", 1], "format": "npy"},
    {"interpolate": {"from": 1, "to": 2, "steps": 3}, "label": 0},
    {"latents": [[0.5] * 6, [-0.5] * 6], "label": "dog", "seed": 1},
]
INVERT: list[Row] = [
    {"seed": 7, "num_images": 2},
    {"seed": 7, "truncation": 0.25, "height": 12, "width": 6},
    {"image": TEXT, "seed": 3, "num_images": 2, "strength": 0.75},
    {"image": b64encode(png(7, 13)).decode(), "seed": 4, "strength": 0},
]
SAID: list[Row] = [
    {"text": "a red heart", "seed": 7, "num_images": 3},
    {"text": "A purple MOON", "seed": 8, "format": "npy"},
]
WRONG: list[tuple[str, Row]] = [
    ("animals", {"seed": -1}),
    ("animals", {"label": "foks"}),
    ("animals", {"truncation": 2, "quality": 101}),
    ("animals", {"seed": 1, "quality": 50}),
    ("animals", {"num_images": 65}),
    ("animals", {"model": "nobody"}),
    ("animals", {"version": 2}),
    ("invert", {"image": TEXT, "fit": "crop"}),
    ("invert", {"image": "no base64!"}),
    ("invert", {"image": b64encode(b"no picture").decode()}),
    ("invert", {"seed": 7, "text": "a red heart"}),
    ("said", {"seed": 7, "text": "zebra"}),
]


def pixels(document: Row) -> list[Pixels]:
    files = [b64decode(image["data"]) for image in document["images"]]
    if document["format"] == "npy":
        return [np.load(io.BytesIO(file)) for file in files]
    return [decode(file) for file in files]


def assert_same(ours: Row, theirs: Row) -> None:
    """Compare two replies: pixels to within one level, all else exactly, but for the times."""
    assert set(ours["timing"]) == set(theirs["timing"])
    near = 40 if theirs["format"] in ("jpeg", "webp") else 1  # a level may move a whole block
    for one, other in zip(pixels(ours), pixels(theirs), strict=True):
        assert np.abs(one.astype(int) - other).max() <= near
    told = [
        {**each, "timing": 0, "images": [{**i, "data": 0} for i in each["images"]]}
        for each in (ours, theirs)
    ]
    assert told[0] == told[1]


def path_of(body: Row) -> str:
    """Return where the service takes a body."""
    return "/translate" if "image" in body else "/generate"
