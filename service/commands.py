"""``ganymede serve``: the service as a process."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import signal
import socket
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import uvicorn

from service import __version__, logs
from service.app import create_app
from service.config import InvalidSetting, ServiceConfig, load_config

BACKLOG = 2048  # connections that wait to be accepted
BODY_GRACE_S = 1.0  # for bodies that are still being sent when the service stops


def _help(setting: str) -> str | None:
    return ServiceConfig.model_fields[setting].description


def serve(
    models: Annotated[
        list[Path] | None, typer.Option(help=f"{_help('models')} May be given several times.")
    ] = None,
    host: Annotated[str | None, typer.Option(help=_help("host"))] = None,
    port: Annotated[int | None, typer.Option(help=_help("port"))] = None,
    default_model: Annotated[str | None, typer.Option(help=_help("default_model"))] = None,
    provider: Annotated[str | None, typer.Option(help=_help("provider"))] = None,
    threads: Annotated[int | None, typer.Option(help=_help("threads"))] = None,
    root_path: Annotated[str | None, typer.Option(help=_help("root_path"))] = None,
    log_level: Annotated[str | None, typer.Option(help=_help("log_level"))] = None,
) -> None:
    """Serve models over HTTP until SIGTERM or Ctrl-C.

    Every other setting is an environment variable, GANYMEDE_<NAME>; an option wins over it.
    """
    config = load_config(
        models=tuple(models) if models else None,
        host=host,
        port=port,
        default_model=default_model,
        provider=provider,
        threads=threads,
        root_path=root_path,
        log_level=log_level,
    )
    logs.configure(config.log_level)
    with listen(config.host, config.port) as listener:
        server = Server(config)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
        server.run(sockets=[listener])
    if server.failure is not None:
        raise server.failure


def _settings() -> str:
    """Every setting, a line each, for the help."""
    lines = []
    for name, field in ServiceConfig.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, tuple):
            default = ", ".join(map(str, default))
        shown = "" if default in (None, "") else f" ({default})"
        lines.append(f"GANYMEDE_{name.upper()}  {field.description}{shown}")
    return "\n".join(lines)


serve.__doc__ = f"{inspect.cleandoc(serve.__doc__ or '')}\n\n\b\n{_settings()}"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InvalidSetting: the address cannot be had, for example because the port is taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        # create_server adds the address to strerror, and getaddrinfo has numbers of its own.
        named = isinstance(error, socket.gaierror)
        reason = error.strerror if named else os.strerror(error.errno or 0)
        raise InvalidSetting(
            f"cannot listen on {host}:{port} ({reason}): stop what listens there, or "
            "choose another with --port or --host"
        ) from error


def _leave(number: int, frame: FrameType | None) -> None:
    """Ctrl-C and SIGTERM are how a service ends: without complaint, and with status 0."""
    raise SystemExit(0)


class Server(uvicorn.Server):
    """uvicorn, which tells when the models serve, and stops when they cannot.

    SIGTERM takes readiness away, closes the door, and lets accepted requests end within
    ``drain_s``. uvicorn then raises the signal again, for ``_leave``.
    """

    failure: Exception | None = None

    def __init__(self, config: ServiceConfig) -> None:
        self._app = create_app(config)
        super().__init__(
            uvicorn.Config(
                self._app,
                access_log=False,
                forwarded_allow_ips=list(config.trusted_proxies),
                lifespan="on",
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(config.drain_s),
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; the models load meanwhile, so that the health pages answer at once."""
        await super().startup(sockets)
        self._app.state.starting.add_done_callback(lambda _: self._models_loaded(sockets or []))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, without waiting long for bodies that are still being sent."""
        soon = asyncio.get_running_loop().time() + BODY_GRACE_S
        for deadline in self._app.state.reading:
            if not deadline.expired():
                deadline.reschedule(min(soon, deadline.when()))
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take readiness away, then stop."""
        self._app.state.stopping = True
        super().handle_exit(sig, frame)

    def _models_loaded(self, sockets: list[socket.socket]) -> None:
        starting, repository = self._app.state.starting, self._app.state.repository
        if starting.cancelled():
            return
        self.failure = starting.exception()
        unloaded = repository.inventory.unloaded(repository.desired)
        if self.failure is None and not repository.models() and not unloaded:
            self.failure = InvalidSetting("; ".join(repository.reasons))
        if self.failure is not None:
            self.should_exit = True
            return
        names = [f"{model.manifest.name}/{model.manifest.version}" for model in repository.models()]
        told = f"Ganymede {__version__} serves {', '.join(names) or 'nothing'}"
        for listener in sockets:
            print(f"{told} on {_url(listener)}", flush=True)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
