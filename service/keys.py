"""API keys: the file that holds them, and how it is changed.

The file is JSON, ``{"schema_version": 1, "keys": [...]}``, and holds no key, only SHA-256 digests.
A fast hash is right: a key is 256 random bits, which nobody finds by trying, however fast; slow
hashes protect passwords, which people choose.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.config import StartupError
from service.limits import Limit

if sys.platform != "win32":
    import fcntl

PREFIX = "ganymede_"  # by which programs that look for leaked secrets can tell a key
KEY_BYTES = 32
FILE_LIMIT_BYTES = 2**20  # read on the event loop; some 4000 keys
_STRICT = ConfigDict(frozen=True, extra="forbid")


class KeyScope(StrEnum):
    """What a key may do; neither includes the other."""

    USE = "use"
    ADMIN = "admin"


class KeysError(StartupError):
    """The keys file, or what is asked of it, cannot be used; the message says what to change."""


class Key(BaseModel):
    """One key, as the file holds it."""

    model_config = _STRICT

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[KeyScope, ...], Field(min_length=1)]
    limit: Limit | None = None
    created: AwareDatetime
    expires: AwareDatetime | None = None

    @cached_property
    def digest(self) -> bytes:
        """The SHA-256 of the key."""
        return bytes.fromhex(self.sha256)

    @cached_property
    def expires_s(self) -> float | None:
        """When it expires, as ``time.time`` counts."""
        return self.expires.timestamp() if self.expires else None


class _Document(BaseModel):
    """The whole file."""

    model_config = _STRICT

    schema_version: Literal[1] = 1
    keys: tuple[Key, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> _Document:
        for kind in ("name", "sha256"):
            if len({getattr(key, kind) for key in self.keys}) < len(self.keys):
                raise ValueError(f"two keys have one {kind}: remove one of them")
        return self


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        KeysError: it cannot be read, or is damaged; no part of a key or digest is in the message.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise KeysError(
            f"there is no keys file {path}: make one with `ganymede keys create NAME --file {path}`"
        ) from None
    except OSError as error:
        raise KeysError(f"the keys file {path} cannot be read: {error.strerror}") from None
    if len(raw) > FILE_LIMIT_BYTES:
        raise KeysError(
            f"the keys file {path} is larger than {FILE_LIMIT_BYTES} bytes: remove keys"
        )
    try:
        return _Document.model_validate_json(raw).keys
    except ValidationError as error:
        # Without the input: it may be a key that somebody put where its digest belongs.
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, fault["loc"]))
        said = fault["msg"].removeprefix("Value error, ")
        raise KeysError(
            f"the keys file {path} is damaged ({where + ': ' if where else ''}{said}): "
            "mend it, or remove it and make the keys anew"
        ) from None


def create_key(
    path: Path,
    name: str,
    scopes: tuple[KeyScope, ...],
    limit: Limit | None,
    lasts: timedelta | None,
) -> str:
    """Add a key to a file, which is made if there is none, and return it: nobody keeps it.

    Raises:
        KeysError: the file cannot be used or written, or has the name already, or it is no name.
    """
    secret = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    created = datetime.now(UTC).replace(microsecond=0)
    try:
        key = Key(
            name=name,
            sha256=hashlib.sha256(secret.encode("ascii")).hexdigest(),
            scopes=scopes,
            limit=limit,
            created=created,
            expires=created + lasts if lasts else None,
        )
    except ValidationError:
        raise KeysError(
            f"{name!r} is no name of a key: use up to 64 of A-Z a-z 0-9 . _ - and begin with a "
            "letter or digit"
        ) from None
    with _one_writer(path):
        keys = read_keys(path) if path.exists() else ()
        if name in {other.name for other in keys}:
            raise KeysError(f"there is a key {name!r} already: revoke it, or choose another name")
        _write(path, (*keys, key))
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Remove a key from a file.

    Raises:
        KeysError: the file cannot be used or written, or has no such key.
    """
    with _one_writer(path):
        keys = read_keys(path)
        kept = tuple(key for key in keys if key.name != name)
        if len(kept) == len(keys):
            names = ", ".join(key.name for key in keys) or "none"
            raise KeysError(f"there is no key {name!r}: those there are: {names}")
        _write(path, kept)


@contextmanager
def _one_writer(path: Path) -> Iterator[None]:
    """Let no other command change the file between reading and writing it.

    The folder is locked and not the file, as that is replaced. Windows has no such locks.
    """
    try:
        if sys.platform == "win32":
            yield
            return
        folder = os.open(path.resolve().parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
    except OSError as error:
        raise KeysError(f"the keys file {path} cannot be written: {error.strerror}") from error


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    """Replace the file at once and for its owner alone; a link to it stays a link."""
    text = _Document(keys=keys).model_dump_json(indent=1, exclude_none=True) + "\n"
    if len(text) > FILE_LIMIT_BYTES:
        raise KeysError(f"the keys file {path} has no room for another key: revoke one")
    whole = path.resolve()
    descriptor, partial = tempfile.mkstemp(dir=whole.parent, prefix=f".{whole.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, whole)
    except BaseException:
        os.unlink(partial)
        raise
