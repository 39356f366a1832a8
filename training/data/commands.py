"""``ganymede data``: what there is to train on, and a look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.data import Dataset, load
from training.data.cache import cache_folder
from training.data.dataset import Images, Labels, Split
from training.data.decode import with_channels
from training.data.named import NAMED
from training.data.progress import progress_bars
from training.errors import DataError
from training.grid import save_png, sheet

ROW_LIMIT = 100
SMALL = 64  # pixels; smaller images are drawn twice as large

app = typer.Typer(help="Look at data sets: named ones, or your own images.", no_args_is_help=True)

Source = Annotated[
    str,
    typer.Argument(
        metavar="NAME_OR_PATH",
        help="A name that `data list` shows, NAME:FOLDER, or your images: folder, zip or .npz.",
    ),
]
SplitOption = Annotated[Literal["train", "test"], typer.Option(help="Which part of it.")]
SizeOption = Annotated[int | None, typer.Option(help="Resize to this side, in pixels.")]
ChannelsOption = Annotated[int | None, typer.Option(help="1 (grey) or 3 (RGB).")]
PairingOption = Annotated[
    str | None,
    typer.Option(
        metavar="WORD_OR_PATH",
        help="What each is to be produced from: left or right (half of the picture), edges, "
        "greyscale, downscale, mask, or a folder of pictures with the same names. unpaired:SOURCE "
        "puts the pictures of another folder or set beside them.",
    ),
]


@app.command("list")
def list_() -> None:
    """The data sets that have a name."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("name", "images", "licence", "here"):
        table.add_column(column, no_wrap=True)
    table.add_column("about")
    for named in NAMED.values():
        here = named.files.here(named.name, "train", cache_folder())
        images = f"{named.counts['train']:,} + {named.counts['test']:,}"
        table.add_row(named.name, images, named.licence, "yes" if here else "no", named.about)
    console = Console()
    console.print(table)
    console.print("Or your own images: the path of a folder, of a zip of one, or of an .npz.")


@app.command()
def info(
    source: Source,
    split: SplitOption = "train",
    size: SizeOption = None,
    channels: ChannelsOption = None,
    pairing: PairingOption = None,
) -> None:
    """What a data set holds, and what had to be left out."""
    data = _loaded(source, split, size, channels, pairing)
    count, height, width, depth = data.images.shape
    console = Console(soft_wrap=True, highlight=False)
    facts = {
        "name": data.name,
        "images": f"{count:,} of {width} x {height}, {'grey' if depth == 1 else 'RGB'} ({split})",
        "sources": _of_sources(data),
        "licence": data.licence,
        "attribution": data.attribution or "none given",
        "fingerprint": data.fingerprint,
    }
    for key, value in facts.items():
        console.print(f"[bold]{key:12}[/bold] {escape(value)}")
    _print_classes(console, data)
    if data.skipped:
        console.print(f"[bold]{'skipped':12}[/bold] {len(data.skipped)}")
    for name, reason in data.skipped:
        console.print(f"{'':12} {escape(f'{name} ({reason})')}")


@app.command()
def grid(
    source: Source,
    out: Annotated[Path, typer.Option(help="The PNG to write.")],
    columns: Annotated[int, typer.Option(min=1, max=ROW_LIMIT, help="Images in a row.")] = 10,
    rows: Annotated[
        int | None,
        typer.Option(min=1, max=ROW_LIMIT, help="Rows. Default: one of each class, else 10."),
    ] = None,
    split: SplitOption = "train",
    size: SizeOption = None,
    channels: ChannelsOption = None,
    pairing: PairingOption = None,
) -> None:
    """Draw a sheet: a row of each class, a spread over the whole set, or sources and images."""
    data = _loaded(source, split, size, channels, pairing)
    if data.sources is not None:
        columns = max(2, columns - columns % 2)
        images, captions = _pairs(data, data.sources, columns // 2 * (rows or 10)), None
    elif data.labels is None:
        images, captions = _spread(data, columns * (rows or 10)), None
    else:
        images, captions = _class_rows(data, data.labels, columns, rows or ROW_LIMIT)
    scale = 2 if images.shape[1] < SMALL else 1
    try:
        save_png(sheet(images, columns, scale=scale, captions=captions), out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}") from error
    Console(soft_wrap=True, highlight=False).print(f"wrote {escape(str(out))}")


def _loaded(
    source: str, split: Split, size: int | None, channels: int | None, pairing: str | None
) -> Dataset:
    with progress_bars() as progress:
        return load(
            source, split=split, size=size, channels=channels, pairing=pairing, progress=progress
        )


def _of_sources(data: Dataset) -> str:
    if data.sources is None:
        return "none: the images come alone"
    depth = "grey" if data.sources.shape[3] == 1 else "RGB"
    if data.domains:
        return f"of {data.domains[0]}, {depth}, while images are of {data.domains[1]}"
    return f"one for each image, {depth}"


def _print_classes(console: Console, data: Dataset) -> None:
    if data.labels is None:
        console.print(f"[bold]{'classes':12}[/bold] none: the images have no labels")
        return
    counts = np.bincount(data.labels, minlength=len(data.classes))
    console.print(f"[bold]{'classes':12}[/bold] {len(data.classes)}")
    for name, count in zip(data.classes, counts, strict=True):
        console.print(f"{'':12} {count:>8,} {escape(name)}")


def _spread(data: Dataset, count: int) -> Images:
    return data.images[np.linspace(0, len(data) - 1, min(count, len(data))).astype(np.int64)]


def _pairs(data: Dataset, sources: Images, count: int) -> Images:
    """Each source beside its image."""
    rows = np.linspace(0, len(data) - 1, min(count, len(data))).astype(np.int64)
    both = [with_channels(part[rows], 3) for part in (sources, data.images)]
    return np.stack(both, axis=1).reshape(-1, *both[0].shape[1:])


def _class_rows(data: Dataset, labels: Labels, columns: int, rows: int) -> tuple[Images, list[str]]:
    """The first ``columns`` images of each class; white where a class has fewer."""
    classes = data.classes[:rows]
    images = np.full((len(classes), columns, *data.images.shape[1:]), 255, np.uint8)
    captions = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)[:columns]
        images[label, : len(members)] = data.images[members]
        captions += [name] * len(members) + [""] * (columns - len(members))
    return images.reshape(-1, *data.images.shape[1:]), captions
