"""The file that keeps what operators asked for, so that it survives a restart. Blocks: it is disk.

It is whole or not there at all: written beside, flushed to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from service.config import StateUnreadable
from service.desired import Desired
from service.errors import StateNotKept

logger = logging.getLogger(__name__)


class StateFile:
    """Where ``Desired`` lies between two runs of the service."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Desired:
        """What was kept last; nothing was asked for when there is no file.

        Raises:
            StateUnreadable: it says what to do.
        """
        advice = (
            "put a copy of it back, or set GANYMEDE_STATE_FILE to another, or remove it: what "
            "`ganymede admin` changed is then forgotten"
        )
        try:
            return Desired.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Desired()
        except OSError as error:
            raise StateUnreadable(
                f"{self._path} cannot be read ({error.strerror}): {advice}"
            ) from error
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            why = f"{where}: {fault['msg']}" if where else fault["msg"]
            raise StateUnreadable(f"{self._path} is damaged ({why}): {advice}") from error

    def stage(self, desired: Desired) -> Staged:
        """Write beside the file what will be kept if it comes to pass.

        Raises:
            StateNotKept: it cannot be written.
        """
        folder, name = self._path.parent, self._path.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            number, beside = tempfile.mkstemp(prefix=f"{name}.", suffix=".new", dir=folder)
        except OSError as error:
            raise _not_kept(self._path, error) from error
        staged = Staged(Path(beside), self._path)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(desired.model_dump_json(indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            staged.discard()
            raise _not_kept(self._path, error) from error
        return staged


class Staged:
    """A state that is written, and not yet kept."""

    def __init__(self, beside: Path, path: Path) -> None:
        self._beside, self._path = beside, path

    def keep(self) -> None:
        """Make it the state.

        Raises:
            StateNotKept: it cannot be renamed.
        """
        try:
            os.replace(self._beside, self._path)
        except OSError as error:
            raise _not_kept(self._path, error) from error
        try:
            _flush_names(self._path.parent)
        except OSError as error:  # it is the state already: to say otherwise would be wrong
            logger.warning(
                "%s is kept, but a power cut may undo it: its folder cannot be flushed (%s)",
                self._path,
                error.strerror,
            )

    def discard(self) -> None:
        """Leave no trace of it."""
        with contextlib.suppress(OSError):
            self._beside.unlink(missing_ok=True)


def _flush_names(folder: Path) -> None:
    """Make a rename outlive a power cut, where folders can be opened at all."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _not_kept(path: Path, error: OSError) -> StateNotKept:
    return StateNotKept(
        f"{path} cannot be written ({error.strerror}), and a change that a restart would forget is "
        "not made: set GANYMEDE_STATE_FILE to a file in a folder that the service may write to"
    )
