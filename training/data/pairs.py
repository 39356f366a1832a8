"""What each of the user's pictures is to be produced from.

``pairing`` says where it is: in the ``left`` or the ``right`` half of the same file (the format of
the pix2pix data sets), in another folder or zip under the same name whatever its ending, or
nowhere: then an operator (operators.py) computes it from the picture.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from training.data.archive import open_zip
from training.data.dataset import Images, Skipped
from training.data.folder import list_folder
from training.data.operators import OPERATORS
from training.data.pictures import Picture, printable
from training.data.pixels import Decoded, decode_all
from training.data.wanted import Wanted
from training.errors import DataError

HALVES = ("left", "right")
WORDS = (*HALVES, *OPERATORS)


def decode_paired(pictures: Sequence[Picture], size: int, wanted: Wanted) -> Decoded:
    """As ``decode_all``, with the sources that lie in files.

    Raises:
        DataError: what ``decode_all`` raises, or there is nothing where the pairing says.
    """
    if wanted.pairing in HALVES:
        both = decode_all(pictures, size, wanted, halves=True)
        left, right = both.images[:, :, :size], both.images[:, :, size:]
        sources, images = (left, right) if wanted.pairing == "left" else (right, left)
        return replace(both, images=images, sources=sources)
    decoded = decode_all(pictures, size, wanted)
    if wanted.pairing is None or wanted.pairing in OPERATORS:
        return decoded
    return _matched(decoded, _partners(Path(wanted.pairing).expanduser(), size, wanted))


def lies_in_files(pairing: str | None) -> bool:
    """Whether the sources are to be read, and not computed."""
    return pairing is not None and pairing not in OPERATORS


def _partners(path: Path, size: int, wanted: Wanted) -> Decoded:
    """All pictures of the other folder or zip, in their own channels."""
    if not path.exists():
        near = difflib.get_close_matches(str(path), WORDS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise DataError(
            f"no pairing or folder called {printable(str(path))}.{hint} Say {', '.join(WORDS)}; or "
            "give a folder or a zip of pictures with the same names"
        )
    with contextlib.nullcontext(list_folder(path)) if path.is_dir() else open_zip(path) as listing:
        return decode_all(listing.pictures, size, replace(wanted, channels=None))


def _matched(decoded: Decoded, partners: Decoded) -> Decoded:
    """The pictures that have a partner of their name, in order, beside it."""
    rows_of: dict[tuple[str, ...], int] = {}
    for row, picture in enumerate(partners.usable):
        rows_of.setdefault(_name(picture), row)
    pairs = [
        (row, rows_of[_name(picture)])
        for row, picture in enumerate(decoded.usable)
        if _name(picture) in rows_of
    ]
    kept = {row for row, _ in pairs}
    alone = [
        Skipped(picture.name, "no picture of its name to be produced from")
        for row, picture in enumerate(decoded.usable)
        if row not in kept
    ]
    return Decoded(
        images=rows(decoded.images, [row for row, _ in pairs]),
        usable=[decoded.usable[row] for row, _ in pairs],
        skipped=[*decoded.skipped, *partners.skipped, *alone],
        sources=rows(partners.images, [row for _, row in pairs]),
    )


def _name(picture: Picture) -> tuple[str, ...]:
    """Its relative path without the ending."""
    return (*picture.parts[:-1], PurePath(picture.parts[-1]).stem)


def rows(images: Images, chosen: Sequence[int]) -> Images:
    """A view where the rows lie side by side, as they do but for odd names: no copy in memory."""
    if chosen and list(chosen) == list(range(chosen[0], chosen[0] + len(chosen))):
        return images[chosen[0] : chosen[0] + len(chosen)]
    return images[list(chosen)]
