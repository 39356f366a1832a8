"""Bundles at a URL, in any store that fsspec knows. Blocks, for as long as the store lets it.

Credentials and addresses of the store are its library's own settings, such as AWS_PROFILE and
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, or FSSPEC_S3_ANON=true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from fsspec.core import url_to_fs

from export.bundle import MANIFEST
from service.config import InvalidSetting
from service.notation import REMOTE

CHUNK_BYTES = 2**20
READ_AHEAD_BYTES = 8 * 2**20
MANIFEST_LIMIT_BYTES = 4 * 2**20
MOST_BUNDLES = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class Unreadable(Exception):
    """The store does not answer, or not with what is asked for; the message says why."""


class Remote:
    """A repository of bundles elsewhere: ``<url>/<name>/<version>/manifest.json``.

    Args:
        url: as fsspec reads it.

    Raises:
        InvalidSetting: fsspec does not know the store, or lacks the package for it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._files, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise InvalidSetting(f"GANYMEDE_MODELS={url}: {error} ({REMOTE})") from error
        except Exception as error:  # each store's library has its own
            raise InvalidSetting(f"GANYMEDE_MODELS={url}: {error}") from error
        self._root = root.rstrip("/")

    def keys(self) -> list[str]:
        """``<name>/<version>`` of every folder that may be a bundle.

        Raises:
            Unreadable: the store, or what is at the URL.
        """
        with self._reading(""):
            self._files.invalidate_cache()
            found = [
                f"{name}/{version}"
                for name in self._names("", _NAME)
                for version in self._names(name, _VERSION)
            ]
        if len(found) > MOST_BUNDLES:
            raise Unreadable(f"it holds more than {MOST_BUNDLES} versions: serve a part of it")
        return found

    def _names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        try:
            entries = self._files.ls(f"{self._root}/{folder}".rstrip("/"), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            if not folder:
                raise
            return []  # removed meanwhile, or a file
        names = (str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in entries)
        return sorted(name for name in names if pattern.fullmatch(name))

    def manifest(self, key: str) -> bytes | None:
        """The manifest as it lies there; None where there is none, so that it is no bundle.

        Raises:
            Unreadable: it is there, and cannot be read.
        """
        try:
            with self._reading(f"{key}/{MANIFEST}"):
                chunks = list(self._chunks(f"{key}/{MANIFEST}", MANIFEST_LIMIT_BYTES + 1))
        except FileNotFoundError:
            return None
        if sum(map(len, chunks)) > MANIFEST_LIMIT_BYTES:
            raise Unreadable(f"{MANIFEST} has more than {MANIFEST_LIMIT_BYTES} bytes")
        return b"".join(chunks)

    def read(self, path: str, limit_bytes: int) -> Iterator[bytes]:
        """A file in pieces, and never more than so many bytes of it.

        Raises:
            Unreadable: it is not there, or cannot be read.
        """
        try:
            with self._reading(path):
                yield from self._chunks(path, limit_bytes)
        except FileNotFoundError as error:
            raise Unreadable(f"{path} is missing: upload it again") from error

    def _chunks(self, path: str, limit_bytes: int) -> Iterator[bytes]:
        with self._files.open(f"{self._root}/{path}", "rb", block_size=READ_AHEAD_BYTES) as file:
            while limit_bytes and (chunk := file.read(min(CHUNK_BYTES, limit_bytes))):
                limit_bytes -= len(chunk)
                yield chunk

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """Tell the errors of a store's library as ours; a missing file is told as one."""
        try:
            yield
        except FileNotFoundError as error:
            if path:
                raise
            raise Unreadable(
                "there is nothing at this URL: upload a bundle, or correct it"
            ) from error
        except Exception as error:  # each store's library has its own
            what = f"{path} cannot be read" if path else "it cannot be listed"
            raise Unreadable(f"{what} ({type(error).__name__}: {error})") from error
