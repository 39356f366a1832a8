"""Changes of what serves, while it serves: all of a change comes to pass, or none of it.

``LocalControl`` decides, for one process or, in a supervisor, for several workers. The ``Control``
of such a worker hands a change to it, and answers when each of them has it (``fleet``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from service.config import ServiceConfig
from service.desired import (
    Change,
    DefaultChange,
    Desired,
    Failed,
    Present,
    RollbackChange,
    UnloadChange,
)
from service.errors import ChangeRefused, StillChanging
from service.state import StateFile

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0  # between two looks at a change that goes on


class Control(Protocol):
    """Who decides what serves."""

    async def start(self) -> None:
        """Load the models as they are wanted, once.

        Raises:
            StartupError: what is wanted cannot be told, or no inference is possible.
        """

    async def change(self, change: Change) -> Desired:
        """Make a change; answers when every request that comes from now on meets it.

        Cancelling this call does not stop the change.

        Raises:
            UnknownModel: there is no such model or version in the folders.
            ChangeRefused: it cannot be made; what served before serves still.
            StateNotKept: it could not be written down, and was not made.
            NotReady: starting, or shutting down.
            StillChanging: it takes long; it goes on.
        """


class Place(Protocol):
    """Where models serve: the ``Repository`` of one process, or the ``Fleet`` of several.

    Each does what ``Repository`` says of it.
    """

    @property
    def desired(self) -> Desired: ...  # noqa: D102

    async def start(self, desired: Desired) -> None: ...  # noqa: D102

    async def present(self) -> dict[str, Present]: ...  # noqa: D102

    async def converge(self, desired: Desired) -> tuple[Failed, ...]: ...  # noqa: D102


class LocalControl:
    """The ``Control`` of the only process that serves, or of the one that has all others follow.

    Args:
        repository: where the models serve.
        state: keeps what was changed over restarts.
        timeout_s: the longest that a call waits for its change.
    """

    def __init__(self, repository: Place, state: StateFile, timeout_s: float) -> None:
        self._repository, self._state, self._timeout_s = repository, state, timeout_s
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[Desired]] = set()

    async def start(self) -> None:
        """Load the models as they were wanted when the service last ran."""
        await self._repository.start(await asyncio.to_thread(self._state.read))

    async def change(self, change: Change) -> Desired:
        """As ``Control`` says."""
        task = asyncio.create_task(self._apply(change))
        self._changes.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait({task}, timeout=self._timeout_s)  # cancels nothing
        if not done:
            raise StillChanging(
                f"the change takes longer than {self._timeout_s:g} s and goes on: GET "
                "/admin/models tells how it ends; GANYMEDE_ADMIN_TIMEOUT_S waits longer",
                retry_after_s=RETRY_AFTER_S,
            )
        return task.result()

    async def _apply(self, change: Change) -> Desired:
        async with self._changing:
            before = self._repository.desired
            after = before.changed(change, await self._repository.present())
            if after is before:
                refuse_failed(change, before, await self._repository.converge(before))
                return before
            staged = await asyncio.to_thread(self._state.stage, after)
            try:
                refuse_failed(change, after, await self._repository.converge(after))
                await asyncio.to_thread(staged.keep)
            except Exception:
                await self._repository.converge(before)
                raise
            finally:
                await asyncio.to_thread(staged.discard)
            logger.warning("changed: %s", change.model_dump_json())
            return after

    def _ended(self, task: asyncio.Task[Desired]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever asked, if they are still there


def local_control(repository: Place, config: ServiceConfig) -> LocalControl:
    """The control of one process, as configured."""
    return LocalControl(repository, StateFile(config.state_path), config.admin_timeout_s)


def refuse_failed(change: Change, desired: Desired, failures: Iterable[Failed]) -> None:
    """Raise ChangeRefused when a version that a change is about is among what failed.

    Args:
        change: what was asked for.
        desired: what is wanted with it.
        failures: what ``Repository.converge(desired)`` returned.
    """
    if isinstance(change, UnloadChange):
        return
    if isinstance(change, DefaultChange | RollbackChange):
        version = desired.of(change.name).default
        if version is None:  # the newest that serves, hence no version that failed
            return
    else:
        version = change.version
    told = [
        f"{failed.name}/{failed.version}: {failed.reason}"
        for failed in failures
        if failed.name == change.name and version in (None, failed.version)
    ]
    if told:
        raise ChangeRefused(
            f"{change.action} failed, and what served before goes on; {'; '.join(told)}"
        )
