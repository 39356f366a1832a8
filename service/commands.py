"""``ganymede serve``: the service as a process."""

from __future__ import annotations

import inspect
import signal
import socket
import sys
from types import FrameType
from typing import Annotated, Any

import typer

from service import logs
from service.config import InvalidSetting, ServiceConfig, load_config
from service.keys import read_keys
from service.listening import listen
from service.supervisor import supervise
from service.threads import cuda_is_likely, usable_cores
from service.tracing import open_traces

MOST_WORKERS = 16  # when the machine decides; with more cores each worker has several


def _help(setting: str) -> str | None:
    return ServiceConfig.model_fields[setting].description


def serve(
    models: Annotated[
        list[str] | None, typer.Option(help=f"{_help('models')} May be given several times.")
    ] = None,
    host: Annotated[str | None, typer.Option(help=_help("host"))] = None,
    port: Annotated[int | None, typer.Option(help=_help("port"))] = None,
    default_model: Annotated[str | None, typer.Option(help=_help("default_model"))] = None,
    provider: Annotated[str | None, typer.Option(help=_help("provider"))] = None,
    workers: Annotated[int | None, typer.Option(help=_help("workers"))] = None,
    threads: Annotated[int | None, typer.Option(help=_help("threads"))] = None,
    root_path: Annotated[str | None, typer.Option(help=_help("root_path"))] = None,
    log_level: Annotated[str | None, typer.Option(help=_help("log_level"))] = None,
) -> None:
    """Serve models over HTTP until SIGTERM or Ctrl-C.

    Every other setting is an environment variable, GANYMEDE_<NAME>; an option wins over it.
    """
    settings: dict[str, Any] = {
        "models": tuple(models) if models else None,
        "host": host,
        "port": port,
        "default_model": default_model,
        "provider": provider,
        "workers": workers,
        "threads": threads,
        "root_path": root_path,
        "log_level": log_level,
    }
    config = load_config(**settings)
    logs.configure(config.log_level)
    count = choose_workers(config)
    if config.keys_file:
        read_keys(config.keys_file)  # what is wrong with them is told before anything starts
    if traces := open_traces(config):  # likewise
        traces.close()
    with listen(config.host, config.port) as listener:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
        if count > 1:
            given = {name: value for name, value in settings.items() if value is not None}
            supervise(config, given, listener, count)
        else:
            _serve_alone(config, listener)


def choose_workers(config: ServiceConfig) -> int:
    """How many processes serve.

    Raises:
        InvalidSetting: more were asked for than this system can have.
    """
    divisible = sys.platform != "win32"
    if config.workers is not None:
        if config.workers > 1 and not divisible:
            raise InvalidSetting("Windows cannot share connections out: use --workers 1")
        return config.workers
    # Workers on one GPU could not batch together.
    if (
        not divisible
        or config.provider in ("cuda", "tensorrt")
        or (config.provider == "auto" and cuda_is_likely())
    ):
        return 1
    return min(config.cores or usable_cores(), MOST_WORKERS)


def _serve_alone(config: ServiceConfig, listener: socket.socket) -> None:
    from service.server import Server  # heavy, and a supervisor does without

    server = Server(config)
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


def _leave(number: int, frame: FrameType | None) -> None:
    """Ctrl-C and SIGTERM are how a service ends: without complaint, and with status 0."""
    raise SystemExit(0)
