"""``ganymede export``, ``models`` and ``sample``.

A bundle is looked at and sampled without torch: what needs it is imported by the command that
does.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export import tables
from export.bundle import Bundle, BundleError, find_bundles, load_bundle
from export.catalogue import find
from export.errors import ExportError, InvalidChoice, MissingPackage, NotWritable, VerifyFailed
from export.manifest import Manifest

models = typer.Typer()

Folders = Annotated[
    list[Path] | None, typer.Option("--models", help="A folder of bundles; repeat for more.")
]
Version = Annotated[int | None, typer.Option(help="Of the bundle; the newest by default.")]

Module = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py:FUNCTION",
        help="In the place of a run: a function that returns a torch.nn.Module. Runs it.",
    ),
]
Onnx = Annotated[Path | None, typer.Option(help="In the place of a run: an ONNX file.")]
SpecFile = Annotated[
    Path | None,
    typer.Option(help="With --module or --onnx: YAML that declares what it takes and gives."),
]
TorchServe = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Pack it for TorchServe too, as FOLDER/NAME-VERSION.mar. In the place of a run may "
        "then be a bundle, by its path or name.",
    ),
]


def export(
    run: Annotated[Path | None, typer.Argument(help="The run folder.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name, as requests will say it.")
    ] = None,
    module: Module = None,
    onnx: Onnx = None,
    spec: SpecFile = None,
    models: Annotated[Path, typer.Option(help="The folder that the service reads.")] = Path(
        "models"
    ),
    version: Annotated[int | None, typer.Option(help="The next free one by default.")] = None,
    torchscript: Annotated[
        bool, typer.Option(help="Write the graphs as TorchScript too, beside ONNX.")
    ] = True,
    torchserve: TorchServe = None,
) -> None:
    """Turn a run, a module or an ONNX file into a bundle; its path is all of standard output.

    With --torchserve, that is the path of the archive.
    """
    if [run, module, onnx].count(None) != 2:
        raise InvalidChoice("say what to export, one of: a run folder, --module or --onnx")
    if torchserve is not None and (onnx is not None or not torchscript):
        raise InvalidChoice("--torchserve packs TorchScript: leave --no-torchscript and --onnx out")
    if torchserve is not None and run is not None and not (run / "config.yaml").is_file():
        if name is not None or spec is not None:
            raise InvalidChoice(f"{run} is a bundle, or none: leave --name and --spec out")
        _pack(load_bundle(find(str(run), [models], version), verify=False), torchserve)
        return
    if name is None:
        raise typer.BadParameter("say what requests shall call the model", param_hint="--name")
    if (spec is None) != (run is not None):
        raise InvalidChoice("--module and --onnx need --spec; a run takes none")
    console = Console(stderr=True)
    bundle = _make(console, run or module or onnx, spec, (models, name, version), torchscript)
    _print_measured(console, bundle.manifest)
    if torchserve is not None:
        _pack(bundle, torchserve)
        return
    _say(console, f"Serve it: ganymede serve --models {models}")
    typer.echo(bundle.path)


def _make(
    console: Console,
    what: Path | str | None,
    spec: Path | None,
    to: tuple[Path, str, int | None],
    torchscript: bool,
) -> Bundle:
    """The bundle of a module (its source as text), an ONNX file (with its spec) or a run."""
    try:
        from export.own import export_graph, export_module
        from export.own_module import parse_source
        from export.publish import export_bundle
        from export.spec import load_spec
        from training.run import load_run
    except ModuleNotFoundError as error:
        raise _missing("ganymede export", error, "export,cpu") from error
    with console.status("reading") as status, contextlib.redirect_stdout(sys.stderr):
        progress = status.update
        if isinstance(what, str) and spec is not None:
            source, theirs = parse_source(what), load_spec(spec)
            _say(console, f"Running the code of {source.path}: it can do all that you can")
            return export_module(source, theirs, *to, torchscript=torchscript, progress=progress)
        assert isinstance(what, Path)  # as its command checked
        if spec is not None:
            return export_graph(what, load_spec(spec), *to, progress=progress)
        return export_bundle(load_run(what), *to, torchscript=torchscript, progress=progress)


def _pack(bundle: Bundle, folder: Path) -> None:
    from export.to_torchserve import to_torchserve

    typer.echo(to_torchserve(bundle, folder))


@models.command("list")
def list_models(folders: Folders = None) -> None:
    """List the bundles in one or more folders."""
    places = _places(folders)
    paths = [path for folder in places for path in find_bundles(folder)]
    if not paths:
        names = ", ".join(str(folder) for folder in places)
        _say(Console(stderr=True), f"No bundles in {names}: ganymede export RUN --name NAME")
        return
    console, (table, reasons) = Console(), tables.bundles_table(paths)
    console.print(table)
    for reason in reasons:
        _say(console, reason)


@models.command("show")
def show_model(
    model: Annotated[str, typer.Argument(help="A model's name, or a bundle's path.")],
    version: Version = None,
    folders: Folders = None,
) -> None:
    """Show what a bundle says of itself."""
    bundle = load_bundle(find(model, _places(folders), version), verify=False)
    console = Console()
    console.print(tables.manifest_table(bundle))
    _print_measured(console, bundle.manifest)
    _say(console, str(bundle.path))


@models.command("verify")
def verify_models(
    model: Annotated[str | None, typer.Argument(help="A model's name, or a bundle's path.")] = None,
    version: Version = None,
    folders: Folders = None,
    every: Annotated[bool, typer.Option("--all", help="Every bundle in the folders.")] = False,
) -> None:
    """Check files, graphs, rows and preview of a bundle against its manifest."""
    if every == (model is not None):
        raise InvalidChoice("say which bundle to verify, or --all")
    try:
        from export.verify import verify
    except ModuleNotFoundError as error:
        raise _missing("ganymede models verify", error, "cpu") from error
    places = _places(folders)
    if model is None:
        paths = [path for folder in places for path in find_bundles(folder)]
    else:
        paths = [find(model, places, version)]
    console, failed = Console(), 0
    for path in paths:
        _say(console, str(path))
        try:
            for line in verify(path):
                _say(console, f"  ok: {line}")
        except (ExportError, BundleError) as error:
            failed += 1
            _say(console, f"  FAILED: {error}")
    if failed:
        raise VerifyFailed(f"{failed} of {len(paths)} bundles failed: export or copy them again")
    if not paths:
        raise InvalidChoice(f"no bundles in {', '.join(str(folder) for folder in places)}")


def sample(
    source: Annotated[str, typer.Argument(help="A run folder, a bundle's path or a model's name.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")],
    seeds: Annotated[str, typer.Option(help="One picture each: 0-63, or 7,8.")] = "0-63",
    label: Annotated[
        list[str] | None,
        typer.Option(help="A class, by name or index; several are taken in turn."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="What to show, for models that read it; several are taken in turn."),
    ] = None,
    truncation: Annotated[
        float | None, typer.Option(help="0, the average picture, to 1, the full variety.")
    ] = None,
    columns: Annotated[int, typer.Option(min=1, help="Pictures in a row.")] = 8,
    version: Version = None,
    folders: Folders = None,
) -> None:
    """Draw pictures from seeds: a seed is the same picture here and in the service."""
    try:
        from export.sampling import (
            choose_labels,
            choose_scalars,
            choose_texts,
            parse_seeds,
            pictures,
        )
        from export.source import open_generator
        from training.grid import save_png, sheet

        numbers = parse_seeds(seeds)
        generator = open_generator(source, _places(folders), version)
    except ModuleNotFoundError as error:
        raise _missing("ganymede sample", error, "export,cpu") from error
    labels = choose_labels(generator, label or (), numbers)
    knobs = choose_scalars(generator, {} if truncation is None else {"truncation": truncation})
    texts = choose_texts(generator, text or (), numbers)
    images = pictures(generator, numbers, labels=labels, scalars=knobs, texts=texts)
    try:
        save_png(sheet(images, columns), out)
    except OSError as error:
        raise NotWritable(f"cannot write {out}: {error.strerror or error}") from error
    typer.echo(out)


def _print_measured(console: Console, manifest: Manifest) -> None:
    if manifest.parity:
        console.print(tables.parity_table(manifest.parity))
    console.print(tables.files_table(manifest))


def _places(folders: Sequence[Path] | None) -> list[Path]:
    return list(folders or [Path("models")])


def _say(console: Console, line: str) -> None:
    """A line as it is: no markup, no wrapping, so that paths can be copied."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _missing(command: str, error: ModuleNotFoundError, extra: str) -> MissingPackage:
    return MissingPackage(
        f"`{command}` needs {error.name}: pip install -e '.[{extra}]' in the checkout"
    )
