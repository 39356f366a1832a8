"""Bundles by name or path."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from export.bundle import MANIFEST, find_bundles, load_bundle
from export.errors import InvalidChoice, UnknownBundle


def find(what: str, folders: Sequence[Path], version: int | None = None) -> Path:
    """The folder of a bundle.

    Args:
        what: the path of a bundle or of the folder of its versions, or a model's name.
        folders: where to look for a name; the first that has it decides.
        version: the newest when None.

    Raises:
        UnknownBundle: there is none; names what there is.
        InvalidChoice: the path is a bundle of another version.
    """
    path = Path(what)
    if (path / MANIFEST).is_file():
        own = None if version is None else load_bundle(path, verify=False).manifest.version
        if own != version:
            raise InvalidChoice(f"{path} is version {own}, not {version}: leave --version out")
        return path
    for folder in (path.parent, *folders):
        found = [one for one in find_bundles(folder) if one.parent.name == path.name]
        if found:
            return _of_version(found, version)
    places = ", ".join(str(folder) for folder in folders)
    names = sorted({one.parent.name for folder in folders for one in find_bundles(folder)})
    near = difflib.get_close_matches(what, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownBundle(
        f"no bundle {what!r}: {hint}{places} has {', '.join(names) or 'no bundles'}"
    )


def _of_version(found: Sequence[Path], version: int | None) -> Path:
    if version is None:
        return found[-1]
    for path in found:
        if int(path.name) == version:
            return path
    numbers = ", ".join(path.name for path in found)
    raise UnknownBundle(f"{found[0].parent} has no version {version}, only {numbers}")
