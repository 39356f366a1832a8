"""The ``ganymede`` command: a thin table that loads a package's commands only when asked for.

So ``ganymede serve`` works where torch is not installed, and ``ganymede --help`` is quick.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import typer


@dataclass(frozen=True)
class Entry:
    """Where a command lives, what it says of itself, and the extra that brings what it needs."""

    module: str
    attribute: str
    help: str
    extra: str


COMMANDS = {
    "serve": Entry("service.commands", "serve", "Serve bundles over HTTP.", "cpu"),
    "keys": Entry("service.key_commands", "app", "Make, list and revoke API keys.", "cpu"),
    "admin": Entry("service.admin_commands", "app", "Change what a running service serves.", "cpu"),
    "train": Entry("training.commands", "train", "Train a preset.", "train"),
    "resume": Entry("training.commands", "resume", "Go on with a run.", "train"),
    "estimate": Entry("training.commands", "estimate", "How long a preset will take.", "train"),
    "diagnose": Entry(
        "training.diagnose.commands", "diagnose", "What became of a run, by name.", "train"
    ),
    "lab": Entry("training.lab.commands", "lab", "Small experiments with known answers.", "train"),
    "data": Entry("training.data.commands", "app", "List and look at data sets.", "train"),
    "export": Entry(
        "export.commands", "export", "Bundle a run, a module or a graph.", "export,cpu"
    ),
    "evaluate": Entry(
        "export.evaluate_command", "command", "Measure a run or a bundle.", "export,cpu"
    ),
    "models": Entry("export.commands", "models", "List, show and verify bundles.", "cpu"),
    "sample": Entry("export.commands", "sample", "Draw pictures from a run or bundle.", "cpu"),
}

# Errors whose message is written for the person at the terminal, by the package that owns them.
EXPECTED = ("TrainingError", "ExportError", "BundleError", "StartupError", "AdminError")


def build(wanted: str) -> typer.Typer:
    """The command line, with the package behind ``wanted`` imported and no other."""
    app = typer.Typer(
        help="Train generative adversarial networks on real images, export them, and serve them.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, entry in COMMANDS.items():
        found = _load(name, entry) if name == wanted else _unused
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, help=entry.help, no_args_is_help=True)
        else:
            app.command(name, help=None if name == wanted else entry.help)(found)
    return app


def _unused() -> None:
    """Stands in the list for a command that was not called."""


def _load(name: str, entry: Entry) -> typer.Typer | Callable[..., Any]:
    try:
        found: typer.Typer | Callable[..., Any] = getattr(
            importlib.import_module(entry.module), entry.attribute
        )
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"training", "export", "service"}:
            raise
        _fail(
            f"`ganymede {name}` needs {missing}: pip install -e '.[{entry.extra}]' in the checkout"
        )
    return found


def _fail(message: str) -> NoReturn:
    print(f"ganymede: {message}", file=sys.stderr)
    raise SystemExit(2)


def _is_out_of_memory(error: Exception) -> bool:
    """Python's own error, or torch's: a class of its own on a GPU, and none on a CPU."""
    on_gpu = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or on_gpu or "can't allocate memory" in str(error)


def main() -> None:
    """Run the command line; expected errors are one line and exit status 2."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    if wanted == "--version":
        print(f"ganymede {importlib.metadata.version('ganymede')}")
        return
    try:
        build(wanted)()
    except Exception as error:
        if _is_out_of_memory(error):
            _fail("not enough memory: ask for less at once, such as a smaller batch or network")
        if not {kind.__name__ for kind in type(error).__mro__} & set(EXPECTED):
            raise
        _fail(str(error))


if __name__ == "__main__":
    main()
