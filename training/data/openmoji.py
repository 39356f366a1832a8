"""OpenMoji's pictures and what they show, out of the npm package openmoji: drawn from its SVGs.

The glyphs without a skin tone and without the flags of countries, in the order of the package. Each
has two captions: its annotation ("red heart"), and that with its tags. Some compositions of a
colour and a thing are the test split: each colour and each thing in it is also trained on.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from training.data.dataset import Images, Labels, Split
from training.data.wanted import Wanted
from training.errors import DataError

SHA256 = "ab181dd523021dfbe2b98a13d96ab384b7b3014d17815261bc267fb39d9a211b"  # of openmoji.json
JSON_BYTES, SVG_BYTES = 2_193_231, 2**20
INSTALLED = Path("node_modules/openmoji")
DEFAULT_SIDE = 72  # pixels
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "smileys-emotion": "smiley",
        "people-body": "person",
        "component": "person",
        "animals-nature": "nature",
        "food-drink": "food",
        "travel-places": "place",
        "activities": "activity",
        "objects": "object",
        "symbols": "symbol",
        "extras-openmoji": "extra",
        "extras-unicode": "extra",
    }
)
CLASSES = tuple(dict.fromkeys(GROUPS.values()))
HELD_OUT = frozenset(
    {
        "green heart",
        "purple heart",
        "orange circle",
        "brown circle",
        "blue square",
        "yellow square",
        "red hexagon",
        "green hexagon",
        "blue flag",
        "jar with yellow content",
        "green apple",
        "orange book",
    }
)

Glyph = dict[str, Any]
Words = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class OpenMoji:
    """``data/openmoji.json`` and ``color/svg``: in the user's folder, else in node_modules."""

    def read(self, name: str, folder: Path | None, wanted: Wanted) -> tuple[Images, Labels]:
        """See ``named.Files``: [N, H, W, 3], on white."""
        place, glyphs = folder or INSTALLED, _glyphs(name, folder, wanted.split)
        side, images = wanted.size or DEFAULT_SIDE, []
        for done, glyph in enumerate(glyphs, 1):
            images.append(_drawn(place / "color" / "svg" / f"{glyph['hexcode']}.svg", side))
            wanted.progress("drawing", done, len(glyphs))
        labels = [CLASSES.index(GROUPS[glyph["group"]]) for glyph in glyphs]
        return np.stack(images), np.array(labels, np.int64)

    def texts(self, name: str, folder: Path | None, split: Split) -> Words:
        """See ``named.Written``."""
        return tuple(_captions(glyph) for glyph in _glyphs(name, folder, split))

    def here(self, name: str, split: Split, cache: Path) -> bool:
        """See ``named.Files``."""
        return _json(INSTALLED).is_file()


def _json(folder: Path) -> Path:
    return folder / "data" / "openmoji.json"


def _glyphs(name: str, folder: Path | None, split: Split) -> list[Glyph]:
    """Those of a split.

    Raises:
        DataError: the package is not there, or is another version.
    """
    path = _json(folder or INSTALLED)
    if not path.is_file():
        raise DataError(
            f"{name} is not on this machine: install the npm package openmoji in this folder "
            f"(npm install openmoji@17.0.0), or say where it is, {name}:FOLDER; {path} is missing"
        )
    with path.open("rb") as stream:
        content = stream.read(JSON_BYTES + 1)
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(f"{path} is not that of openmoji 17.0.0: npm install openmoji@17.0.0")
    glyphs: list[Glyph] = json.loads(content)
    usable = [each for each in glyphs if each["group"] in GROUPS and not each["skintone"]]
    return [each for each in usable if (each["annotation"] in HELD_OUT) == (split == "test")]


def _captions(glyph: Glyph) -> tuple[str, ...]:
    """The annotation, and that with its tags, no word twice."""
    annotation = str(glyph["annotation"])
    tags = f"{annotation} {glyph['openmoji_tags']} {glyph['tags']}".replace(",", " ").split()
    return annotation, " ".join(dict.fromkeys(tags))


def _drawn(path: Path, side: int) -> Images:
    """An SVG as uint8 [side, side, 3]."""
    draw = _draw()
    try:
        with path.open(encoding="utf-8") as stream:
            svg = stream.read(SVG_BYTES)
        png = bytes(draw(svg_string=svg, width=side, height=side, background="white"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be drawn ({error}): install openmoji again") from error
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        return np.asarray(image.convert("RGB"))


@functools.cache
def _draw() -> Any:  # noqa: ANN401 - of a package without types
    try:
        from resvg_py import svg_to_bytes
    except ModuleNotFoundError:
        raise DataError("to draw SVGs takes the package resvg-py: pip install resvg-py") from None
    return svg_to_bytes
