"""The pictures in a zip, read in place: nothing is ever unpacked to disk."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from training.data.dataset import Skipped
from training.data.pictures import (
    FILE_LIMIT_BYTES,
    Listing,
    Unreadable,
    is_hidden,
    printable,
)
from training.errors import DataError

ENCRYPTED = 0x1  # general purpose bit flag, APPNOTE 4.4.4


@contextmanager
def open_zip(path: Path) -> Iterator[Listing]:
    """Every picture in the zip, readable while the context lasts; hidden files are left out.

    Raises:
        DataError: not a zip, or a broken one.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} cannot be opened as a zip ({error}): make it again") from error
    with archive:
        yield _listing(archive)


def _listing(archive: zipfile.ZipFile) -> Listing:
    listing = Listing()
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # some writers on Windows
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if info.is_dir() or not parts:
            continue
        if name.startswith("/") or ".." in parts or parts[0].endswith(":"):
            listing.skipped.append(Skipped(printable(name), "its path leaves the zip"))
        elif not any(map(is_hidden, parts)):
            listing.add(parts, partial(_read, archive, info))
    listing.sort()
    return listing


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & ENCRYPTED:
        raise Unreadable("encrypted")
    if info.file_size > FILE_LIMIT_BYTES:
        raise Unreadable(f"{info.file_size} bytes, more than {FILE_LIMIT_BYTES}")
    try:
        return archive.read(info)  # never more than file_size, however much it inflates to
    except Exception as error:  # each compression method has errors of its own
        raise Unreadable(f"broken inside the zip: {error}") from error
