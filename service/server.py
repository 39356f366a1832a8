"""uvicorn with the application: it tells when the models serve, and stops when they cannot."""

from __future__ import annotations

import asyncio
import gc
import math
import socket
from types import FrameType

import uvicorn

from service.app import create_app
from service.config import InvalidSetting, ServiceConfig
from service.control import Control
from service.listening import announce
from service.metrics import Metrics
from service.pulse import beat
from service.repository import Repository
from service.writing import Protocol

# Between two looks for garbage in cycles, of which requests leave next to none: 700 allocations, as
# is usual, are a few requests, and each look would cost as much as a part of one.
GC_ALLOCATIONS = 50_000
BODY_GRACE_S = 1.0  # for bodies that are still being sent when the service stops


class Server(uvicorn.Server):
    """uvicorn, which tells when the models serve, and stops when they cannot.

    SIGTERM takes readiness away, closes the door, and lets accepted requests end within
    ``drain_s``. uvicorn then raises the signal again, for the handler that was there before.

    Args:
        config: every setting.
        metrics, repository, control: as ``create_app`` says.
    """

    failure: Exception | None = None

    def __init__(
        self,
        config: ServiceConfig,
        metrics: Metrics | None = None,
        repository: Repository | None = None,
        control: Control | None = None,
    ) -> None:
        self._app = create_app(config, repository, metrics, control)
        super().__init__(
            uvicorn.Config(
                self._app,
                http=Protocol,
                access_log=False,
                proxy_headers=bool(config.trusted_proxies),
                forwarded_allow_ips=list(config.trusted_proxies),
                lifespan="on",
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(config.drain_s),
                ws="none",
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; the models load meanwhile, so that the health pages answer at once."""
        await super().startup(sockets)
        self._pulse = asyncio.create_task(beat(self._app.state.metrics, self.lives))
        self._app.state.starting.add_done_callback(lambda _: self._models_loaded(sockets or []))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, without waiting long for bodies that are still being sent."""
        self._app.state.arrivals.hurry(BODY_GRACE_S)
        await super().shutdown(sockets)
        self._pulse.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take readiness away, then stop."""
        self._app.state.stopping = True
        super().handle_exit(sig, frame)

    def serves(self, models: list[str], sockets: list[socket.socket]) -> None:
        """Called once, when the models serve."""
        for listener in sockets:
            announce(models, listener)

    def lives(self) -> None:
        """Called again and again, from the start to the end of the shutdown."""

    def fails(self, failure: Exception) -> None:
        """Called once, when no model ever will."""
        self.failure = failure
        self.should_exit = True

    def _models_loaded(self, sockets: list[socket.socket]) -> None:
        starting, repository = self._app.state.starting, self._app.state.repository
        if starting.cancelled():
            return
        if (failure := starting.exception()) is not None:
            self.fails(failure)
        elif not repository.models() and not repository.inventory.unloaded(repository.desired):
            self.fails(InvalidSetting("; ".join(repository.reasons)))
        else:
            gc.collect()
            gc.freeze()  # what was loaded stays
            gc.set_threshold(GC_ALLOCATIONS, *gc.get_threshold()[1:])
            models = [model.manifest for model in repository.models()]
            self.serves([f"{model.name}/{model.version}" for model in models], sockets)
