"""A package openmoji of a few glyphs: discs and squares in four colours, and what is left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from training.data import openmoji

COLOURS = {"red": "#ff0000", "green": "#00ff00", "blue": "#0000ff", "black": "#000000"}
SHAPES = {
    "circle": '<circle cx="36" cy="36" r="30" fill="{}"/>',
    "square": '<rect x="6" y="6" width="60" height="60" fill="{}"/>',
}


def glyph(annotation: str, hexcode: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """An entry of openmoji.json."""
    tags = ", ".join(["geometric", annotation.split()[0]])
    said = {"annotation": annotation, "hexcode": hexcode, "tags": tags, "openmoji_tags": "colour"}
    return {"group": "symbols", "skintone": "", **said, **more}


def entries() -> list[dict[str, Any]]:
    """Eight glyphs, one of them the test split's with another, and two that nobody uses."""
    shapes = [f"{colour} {shape}" for shape in SHAPES for colour in COLOURS]
    found = [glyph(name, f"E{k}") for k, name in enumerate(shapes)]
    return [
        *found,
        glyph("waving hand: dark skin tone", "F0", group="people-body", skintone=5),
        glyph("flag: Iceland", "F1", group="flags"),
    ]


def write_openmoji(
    folder: Path, monkeypatch: pytest.MonkeyPatch, glyphs: Sequence[dict[str, Any]] = ()
) -> str:
    """Write the package and make it the known one; the source to load it from."""
    glyphs = glyphs or entries()
    (folder / "data").mkdir(parents=True)
    (folder / "color" / "svg").mkdir(parents=True)
    content = json.dumps(glyphs).encode()
    (folder / "data" / "openmoji.json").write_bytes(content)
    for each in glyphs:
        colour, _, shape = each["annotation"].partition(" ")
        drawn = SHAPES.get(shape, SHAPES["square"]).format(COLOURS.get(colour, "#888888"))
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">{drawn}</svg>'
        (folder / "color" / "svg" / f"{each['hexcode']}.svg").write_text(svg)
    monkeypatch.setattr(openmoji, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(openmoji, "HELD_OUT", frozenset({"green square", "blue circle"}))
    return f"openmoji:{folder}"
