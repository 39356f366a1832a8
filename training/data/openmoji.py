"""OpenMoji's pictures and what they show, out of the npm package openmoji: drawn from its SVGs.

The glyphs without a skin tone and without the flags of countries, in the order of the package. Each
has two captions: its annotation ("red heart"), and that with its tags. Some compositions of a
colour and a thing are the test split: each colour and each thing in it is also trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from training.data.dataset import Found, Split
from training.data.emoji import DEFAULT_SIZE, drawn
from training.data.wanted import Wanted
from training.errors import DataError

SHA256 = "ab181dd523021dfbe2b98a13d96ab384b7b3014d17815261bc267fb39d9a211b"  # of openmoji.json
JSON_BYTES, SVG_BYTES = 2_193_231, 2**20
INSTALLED = Path("node_modules/openmoji")
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

    def read(self, name: str, folder: Path | None, wanted: Wanted) -> Found:
        """See ``named.Files``: RGB, on white."""
        place, glyphs = folder or INSTALLED, _glyphs(name, folder, wanted.split)
        drawings = [
            _read(place / "color" / "svg" / f"{glyph['hexcode']}.svg", SVG_BYTES).decode()
            for glyph in glyphs
        ]
        labels = [CLASSES.index(GROUPS[glyph["group"]]) for glyph in glyphs]
        return Found(drawn(drawings, wanted.size or DEFAULT_SIZE, 3, wanted), np.array(labels))

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
    content = _read(path, JSON_BYTES + 1)
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


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(most_bytes)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): install openmoji again") from error
