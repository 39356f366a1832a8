"""Where the bundles come from: folders of this machine, and URLs, which are mirrored to one.

``mirror`` and what it needs are an extra: they are imported when a URL is
configured, and only here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.config import InvalidSetting, ServiceConfig
from service.copies import Copies, copies_folder
from service.folders import Failure, Folder, Found, Identity, scan

if TYPE_CHECKING:
    from service.mirror import Mirror


class Sources:
    """Every place that is configured, the first one first."""

    def __init__(self, members: Sequence[Folder | Mirror] = ()) -> None:
        self._members = members
        self._mirrors = [each for each in members if not isinstance(each, Folder)]

    async def start(self) -> None:
        """Copy what URLs hold, and go on looking there; folders are looked at when asked."""
        await asyncio.gather(*(mirror.start() for mirror in self._mirrors))

    def scan(self) -> tuple[dict[Identity, Found], tuple[Failure, ...]]:
        """As ``folders.scan``. Blocks: it reads the disk, and no more."""
        return scan(self._members)

    def close(self) -> None:
        """Look at URLs no more."""
        for mirror in self._mirrors:
            mirror.close()


def open_sources(config: ServiceConfig) -> Sources:
    """The configured places.

    Raises:
        InvalidSetting: a URL cannot be used, or there is nowhere to copy to.
    """
    return Sources([_open(source, config) for source in config.models])


def _open(source: Path | str, config: ServiceConfig) -> Folder | Mirror:
    if isinstance(source, Path):
        return Folder(source)
    from service.mirror import Mirror
    from service.remote import Remote

    copies = Copies(copies_folder(source, config.remote_cache))
    try:
        copies.folder.mkdir(parents=True, exist_ok=True)
        with copies.locked():
            pass
    except OSError as error:
        raise InvalidSetting(
            f"{copies.folder} cannot be written ({error.strerror}), and what {source} holds is "
            "copied there: set GANYMEDE_REMOTE_CACHE to a folder that the service may write to"
        ) from error
    return Mirror(Remote(source), copies, config.remote_watch_s, config.remote_cache_bytes)
