"""``ganymede keys``: API keys, by the file that ``GANYMEDE_KEYS_FILE`` names."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from service.keys import KeyScope, create_key, read_keys, revoke_key
from service.limits import Limit

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

File = Annotated[
    Path,
    typer.Option(
        "--file", envvar="GANYMEDE_KEYS_FILE", help="The keys file; made if there is none."
    ),
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is: told in the service's log.")],
    file: File,
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option(help="What it may do, use when left out; may be given twice."),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(min=1, max=6_000_000, help="Requests a minute; no limit when left out."),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(min=1, max=6_000_000, help="Requests at once; a minute's when left out."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=36_500, help="Days until it expires; never when left out."),
    ] = None,
) -> None:
    """Make a key and print it, this once: only its SHA-256 is kept."""
    if burst is not None and rate is None:
        raise typer.BadParameter("--burst needs --rate")
    limit = Limit(per_minute=rate, burst=burst or rate) if rate else None
    lasts = timedelta(days=days) if days else None
    print(create_key(file, name, tuple(dict.fromkeys(scope or (KeyScope.USE,))), limit, lasts))
    typer.echo(
        "Keep it: it is not shown again. A running service takes it within a second.", err=True
    )


@app.command("list")
def show(file: File) -> None:
    """List the keys: their names, never themselves."""
    rows = [("name", "scopes", "a minute", "at once", "created", "expires")]
    for key in read_keys(file):
        limit = (str(key.limit.per_minute), str(key.limit.burst)) if key.limit else ("any", "any")
        expires = f"{key.expires:%Y-%m-%d %H:%M}" if key.expires else "never"
        rows.append(
            (key.name, ",".join(key.scopes), *limit, f"{key.created:%Y-%m-%d %H:%M}", expires)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Whose key is refused from now on.")], file: File
) -> None:
    """Remove a key; a running service refuses it within a second."""
    revoke_key(file, name)
