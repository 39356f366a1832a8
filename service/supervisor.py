"""Several workers behind one door: started, given connections, replaced when they end, and stopped.

The supervisor computes nothing and imports nothing heavy. It holds the listening socket; a worker
serves what it is given, and is told to finish by the end of that stream, so that workers also end
when their supervisor is gone. Only connections that a worker had begun to read end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from service.config import InvalidSetting, ServiceConfig, StartupError
from service.control import local_control
from service.fleet import Fleet, read_change
from service.gate import Gate
from service.handover import Giver
from service.listening import announce
from service.messages import Messages
from service.process import Assignment, WorkerProcess, describe, start_worker

logger = logging.getLogger(__name__)

_STEADY_S = 10.0  # a worker that served so long is replaced at once
_BACK_OFF_S = 0.25  # the first of the waits, which double
_LONGEST_BACK_OFF_S = 30.0
_TRIES = 3  # when not one worker came to serve, and none said why
GRACE_S = 5.0  # beyond what workers allow themselves when they stop

# Looks are counted, not seconds: a supervisor that was held up itself has looked at nobody.
_LOOK_S = 1.0  # four beats of a worker's pulse
# What is slow runs in threads: a healthy worker is late by tenths of a second, if others leave it
# its core.
_SILENT_LOOKS = 5
# A machine that swaps or moves to another host may need seconds; probes and clients give up later.
_HUNG_LOOKS = 15


def supervise(
    config: ServiceConfig, settings: dict[str, Any], listener: socket.socket, workers: int
) -> None:
    """Serve with several workers until SIGTERM or Ctrl-C; the second time, at once.

    Args:
        config: every setting.
        settings: those that do not come from the environment, for the workers.
        listener: closed at the end.
        workers: how many.

    Raises:
        StartupError: no worker can serve.
    """
    try:
        folder = TemporaryDirectory(prefix="ganymede-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InvalidSetting(
            f"several workers need a folder for their metrics ({error}): set TMPDIR to one that "
            "can be written, or use --workers 1"
        ) from error
    with folder as path:
        assignments = [
            Assignment(slot, workers, path, replaces=False, settings=settings)
            for slot in range(workers)
        ]
        status = asyncio.run(Supervisor(config, listener, assignments).run())
    if status:
        raise SystemExit(status)


def vacate(folder: Path, slot: int) -> None:
    """Remove from the shared metrics what is true of living workers only; what was counted stays.

    The names are those of ``slots.occupy`` and of prometheus_client.
    """
    for path in (folder / f"{slot}.pid", *folder.glob(f"gauge_live*_{slot}.db")):
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _End:
    """How a worker ended.

    Attributes:
        served: whether it ever did.
        what: happened, in words.
        status: negative is the signal that killed it; 0 when there was none.
        failure: why it cannot serve, if it told.
    """

    served: bool
    what: str
    status: int = 0
    failure: str | None = None


class Supervisor:
    """Keeps every slot occupied. See ``supervise``."""

    def __init__(
        self, config: ServiceConfig, listener: socket.socket, assignments: list[Assignment]
    ) -> None:
        self._drain_s = config.drain_s
        self._fleet = Fleet(self._followers)
        self._control = local_control(self._fleet, config)
        self._listener, self._assignments = listener, assignments
        self._workers: dict[int, WorkerProcess] = {}
        self._served: set[int] = set()  # slots whose worker has served, once at least
        self._announced = False
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._status = 0

    async def run(self) -> int:
        """As ``supervise``; the exit status, when a worker's is to be passed on."""
        await self._control.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        self._gate = Gate(self._listener, self._takers)
        keepers = [asyncio.create_task(self._keep(each)) for each in self._assignments]
        watch = asyncio.create_task(self._watch())
        for task in (*keepers, watch):
            task.add_done_callback(self._ended)
        await self._stopping.wait()
        self._gate.close()
        for worker in self._workers.values():
            worker.giver.finish()
        # uvicorn gives requests drain_s, and the models what they have accepted as much again.
        _, late = await asyncio.wait(keepers, timeout=2 * self._drain_s + GRACE_S)
        if late:
            logger.error("workers did not end in time and are killed")
            self._kill()
            await asyncio.wait(keepers)
        watch.cancel()
        if self._failure is not None:
            raise self._failure
        return self._status

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._kill()
        self._stopping.set()

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.kill()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A keeper that fails, or the watch, ends the service."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._stopping.set()

    def _takers(self) -> Iterable[Giver]:
        """Workers that are ready; else those that can say why they are not."""
        awake = [each for each in self._workers.values() if not _is_silent(each)]
        listening = [each for each in awake if each.listens and each.giver.taking]
        ready = [each for each in listening if each.ready]
        return [each.giver for each in ready or listening]

    def _followers(self) -> list[Messages]:
        """Workers that know what is wanted, and are to know of each change.

        A silent one is not waited for. It is killed, as it might wake and go on as before.
        """
        following = [each for each in self._workers.values() if each.follows]
        for worker in filter(_is_silent, following):
            worker.kill()
        return [each.messages for each in following if not _is_silent(each)]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._look()

    def _look(self) -> None:
        """Give nothing more to workers that fell silent, and kill those that stay so."""
        for slot, worker in self._workers.items():
            if not (worker.listens or worker.follows):  # it starts, and has told nothing yet
                continue
            worker.silent_looks += 1
            if worker.silent_looks == _SILENT_LOOKS:
                logger.warning(
                    "worker %d (process %d) does nothing: it gets no more, and is killed unless "
                    "it goes on",
                    slot,
                    worker.process_id,
                )
                self._gate.open()  # less wide: nobody may be left to take
            if worker.silent_looks == _HUNG_LOOKS:
                worker.kill()

    async def _keep(self, first: Assignment) -> None:
        """Keep one slot occupied, until the service stops."""
        assignment, failures = first, 0
        while not self._stopping.is_set():
            start_s = asyncio.get_running_loop().time()
            end = await self._live(assignment)
            if self._stopping.is_set():
                return
            steady = end.served and asyncio.get_running_loop().time() - start_s > _STEADY_S
            failures = 0 if steady else failures + 1
            if not end.served and not any(each.served for each in self._workers.values()):
                self._give_up(end, failures)
            wait_s = min(_LONGEST_BACK_OFF_S, _BACK_OFF_S * 2 ** (failures - 1)) if failures else 0
            if not self._stopping.is_set():
                logger.warning("%s; another takes its place in %g s", end.what, wait_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
            assignment = replace(first, replaces=True)

    async def _live(self, assignment: Assignment) -> _End:
        """The whole life of one worker."""
        slot = assignment.slot
        try:
            worker = await start_worker(assignment, self._gate.open, self._gate.hold)
        except OSError as error:
            return _End(False, f"worker {slot} could not be started ({error})")
        self._workers[slot] = worker
        if self._stopping.is_set():
            worker.giver.finish()
        await worker.messages.listen(
            partial(self._hear, slot, worker), partial(self._answer, worker)
        )
        status = await worker.end()
        del self._workers[slot]
        vacate(Path(assignment.folder), slot)
        what = f"worker {slot} (process {worker.process_id}) {describe(status)}"
        return _End(worker.served, what, status, worker.failure)

    def _hear(self, slot: int, worker: WorkerProcess, name: str, value: Any) -> None:  # noqa: ANN401
        """What a worker tells of itself."""
        if _is_silent(worker):
            logger.warning("worker %d (process %d) goes on", slot, worker.process_id)
        worker.silent_looks = 0
        match name:
            case "listens":
                worker.listens = True
            case "serves":
                worker.served = worker.ready = True
                self._served.add(slot)
                whole = len(self._served) == len(self._assignments)
                if whole and not self._announced and not self._stopping.is_set():
                    self._announced = True
                    announce(value, self._listener)
            case "ready":
                worker.ready = value
            case "fails":
                worker.failure = value
        self._gate.open()

    async def _answer(self, worker: WorkerProcess, name: str, value: Any) -> Any:  # noqa: ANN401
        """What a worker asks; see ``fleet``."""
        if name == "desired":
            worker.follows = True
            return self._fleet.desired.model_dump_json()
        assert name == "change"
        return (await self._control.change(read_change(value))).model_dump_json()

    def _give_up(self, end: _End, failures: int) -> None:
        """End the service, once it is clear that no worker will serve, as one would end alone."""
        if end.failure is not None:
            self._failure = StartupError(end.failure)
        elif end.status > 0:  # its traceback is in the log
            self._status = end.status
        elif failures >= _TRIES:
            self._failure = StartupError(f"{end.what} before it served, as {_TRIES} did in a row")
        else:
            return
        self._stopping.set()


def _is_silent(worker: WorkerProcess) -> bool:
    """Whether it hangs, as far as can be told."""
    return worker.silent_looks >= _SILENT_LOOKS
