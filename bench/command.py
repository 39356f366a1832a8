"""How a measurement is started, and where it prints; errors are one line, as in ``ganymede``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import typer
from rich.console import Console

from export.bundle import BundleError
from export.errors import ExportError
from training.errors import TrainingError


class BenchError(Exception):
    """A measurement cannot be made; the message says what to change."""


def run(main: Callable[..., None]) -> None:
    """Run a command line; exit status 2 says that nothing was measured."""
    try:
        typer.run(main)
    except (BenchError, BundleError, ExportError, TrainingError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # nothing was measured yet
    except subprocess.CalledProcessError as error:
        _fail(f"`{' '.join(map(str, error.cmd))}` ended with status {error.returncode}")


def console() -> Console:
    """Standard output, wide enough for the tables when it is a file."""
    return Console(width=max(130, Console().width), highlight=False)


def _fail(message: str) -> None:
    print(f"bench: {message}", file=sys.stderr)
    raise SystemExit(2)
