"""How the values of settings are written: an environment variable has neither lists nor nothing."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

# A colon between two folders, and not the one of a URL.
_BETWEEN_SOURCES = re.compile(rf"{re.escape(os.pathsep)}(?!//)")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)")
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}  # that fsspec needs besides
REMOTE = "pip install -e '.[remote]' in the checkout"


def split(separator: str | re.Pattern[str]) -> BeforeValidator:
    """Accept ``a<separator>b`` where a list is expected."""
    pattern = re.compile(re.escape(separator)) if isinstance(separator, str) else separator

    def split(value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in pattern.split(value) if part.strip())

    return BeforeValidator(split)


def _source(value: object) -> object:
    if not isinstance(value, str):
        return value
    url = _URL.match(value)
    if url is None:
        return Path(value)
    protocol, place = url.groups()
    if "@" in place:
        raise ValueError("leave credentials out of a URL, which is logged: set the store's own")
    needed = ("fsspec", "platformdirs", _PACKAGES.get(protocol.lower(), "fsspec"))
    if missing := [name for name in needed if find_spec(name) is None]:
        raise ValueError(f"{value} needs {missing[0]}: {REMOTE}")
    return value.rstrip("/")


Source = Annotated[Path | str, BeforeValidator(_source)]  # a folder, or the URL of one
sources = split(_BETWEEN_SOURCES)


def none_if_auto(value: object) -> object:
    """Accept ``auto`` for None."""
    return None if isinstance(value, str) and value.strip().lower() in {"auto", ""} else value


def none_if_all(value: object) -> object:
    """Accept ``all`` for None."""
    return None if isinstance(value, str) and value.strip().lower() == "all" else value


def rooted(path: str) -> str:
    """``/prefix`` without a slash at its end, or nothing."""
    return "/" + path.strip("/") if path.strip("/") else ""


Auto = BeforeValidator(none_if_auto)
