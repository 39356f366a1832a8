"""A worker as its supervisor sees it: a process, its connections, and what it says."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.config import LARGEST_REQUEST_BYTES, ServiceConfig
from service.handover import Giver
from service.messages import Messages


@dataclass(frozen=True)
class Assignment:
    """What a worker is told when it starts.

    Attributes:
        slot: its number, which a replacement takes over.
        workers: how many there are.
        folder: private to the service, for the values of the metrics.
        replaces: whether another had the slot before.
        settings: those that are not in the environment.
    """

    slot: int
    workers: int
    folder: str
    replaces: bool
    settings: dict[str, Any]

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self), default=str)

    def share(self, config: ServiceConfig, cores: int) -> ServiceConfig:
        """The settings of this worker: what is meant for the whole service is shared out.

        Each worker still takes the largest request.

        Args:
            config: of the service.
            cores: that all workers share.
        """
        workers = self.workers
        least_bytes = min(config.queue_bytes, LARGEST_REQUEST_BYTES)
        return config.model_copy(
            update={
                "cores": max(1, cores // workers),
                "queue_images": max(config.queue_images // workers, config.max_images),
                "queue_bytes": max(config.queue_bytes // workers, least_bytes),
                "cache_bytes": config.cache_bytes // workers,
                "bodies_bytes": max(config.bodies_bytes // workers, config.max_body_bytes),
                # The limits of keys are for all workers together.
                "runtime_folder": config.runtime_folder or Path(self.folder),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        """From the command line."""
        return cls(**json.loads(text))


class WorkerProcess:
    """A running worker. ``start_worker`` makes one."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        giver: Giver,
        messages: Messages,
    ) -> None:
        self._process = process
        self.giver, self.messages = giver, messages
        self.follows = False  # it was told what is wanted, and is told of changes
        self.listens = False  # it answers, if only that its models are being loaded
        self.served = False  # they were loaded, at least once
        self.ready = False  # requests are accepted
        self.failure: str | None = None  # why it never will serve

    @property
    def process_id(self) -> int:
        """As the system knows it."""
        return self._process.pid

    async def end(self) -> int:
        """Wait for the end; negative is the signal that killed it."""
        status = await self._process.wait()
        self.messages.close()
        self.giver.close()
        return status

    def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            self._process.kill()


async def start_worker(
    assignment: Assignment,
    progress: Callable[[], None],
    lost: Callable[[list[socket.socket]], None],
) -> WorkerProcess:
    """Start a fresh interpreter; the arguments but the first are those of ``Giver``.

    Raises:
        OSError: the system has no room for another process.
    """
    connections, channel = socket.socketpair(), socket.socketpair()
    with connections[1], channel[1]:
        descriptors = connections[1].fileno(), channel[1].fileno()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # what is imported is what was imported here, whatever the folder holds
                "-m",
                "service.worker",
                *map(str, descriptors),
                assignment.to_json(),
                stdin=asyncio.subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                pass_fds=descriptors,
                process_group=0,  # Ctrl-C in a terminal is for the supervisor alone
            )
        except OSError:
            connections[0].close()
            channel[0].close()
            raise
    messages = Messages(channel[0])
    await messages.open()
    return WorkerProcess(process, Giver(connections[0], progress, lost), messages)


def describe(status: int) -> str:
    """An exit status in words."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
