"""``ganymede admin``: asks a running service over HTTP; needs nothing of ours but this file."""

from __future__ import annotations

import http.client
import json
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

TIMEOUT_S = 600.0  # the service itself gives up before (GANYMEDE_ADMIN_TIMEOUT_S)
REPLY_BYTES = 2**24  # far more than any answer: what sends more is not the service

app = typer.Typer(help="Change what a running service serves.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The model's name.")]
Version = Annotated[int | None, typer.Argument(help="One version; every version if left out.")]
Url = Annotated[str, typer.Option(help="Where the service answers.")]
Key = Annotated[
    str | None,
    typer.Option(envvar="GANYMEDE_KEY", help="API key with scope admin, if the service asks."),
]
LOCAL = "http://localhost:8000"


class AdminError(Exception):
    """The service did not do what it was asked; the message says what to change."""


@app.command()
def models(url: Url = LOCAL, key: Key = None) -> None:
    """List every version in the service's folders, and what became of it."""
    for model in call(url, key, "GET", "/admin/models")["models"]:
        _show(model)


@app.command()
def load(name: Name, version: Version = None, url: Url = LOCAL, key: Key = None) -> None:
    """Serve what was unloaded."""
    _change(url, key, name, "load", {"version": version})


@app.command()
def unload(name: Name, version: Version = None, url: Url = LOCAL, key: Key = None) -> None:
    """Serve a version no more; a whole model stays away with its future versions."""
    _change(url, key, name, "unload", {"version": version})


@app.command()
def reload(name: Name, version: Version = None, url: Url = LOCAL, key: Key = None) -> None:
    """Open anew from the files."""
    _change(url, key, name, "reload", {"version": version})


@app.command()
def default(
    name: Name,
    version: Annotated[str, typer.Argument(help="A version, or `newest`, whichever it is.")],
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Choose the version that answers when none is pinned."""
    if version != "newest" and not version.isdecimal():
        raise AdminError(f"{version!r} is no version: say a number, or newest")
    chosen = None if version == "newest" else int(version)
    _change(url, key, name, "default", {"version": chosen})


@app.command()
def rollback(name: Name, url: Url = LOCAL, key: Key = None) -> None:
    """Go back to the default before this one."""
    _change(url, key, name, "rollback", {})


def call(url: str, key: str | None, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
    """Ask the service, and return its JSON.

    Raises:
        AdminError: it cannot be reached, or refuses.
    """
    try:
        parts = urlsplit(url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        connection = kinds[parts.scheme](parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    except (KeyError, ValueError, http.client.InvalidURL):
        raise AdminError(f"{url!r} is no address: say --url http://HOST:PORT") from None
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, parts.path.rstrip("/") + path, content, headers)
        reply = connection.getresponse()
        text = reply.read(REPLY_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise AdminError(
            f"no service answers at {url} ({error}): start `ganymede serve`, or say --url"
        ) from None
    finally:
        connection.close()
    return _understood(url, reply.status, text)


def _understood(url: str, status: int, text: bytes) -> Any:  # noqa: ANN401
    try:
        document = json.loads(text)
        detail = document["detail"] if status >= 400 else ""
    except (ValueError, KeyError, TypeError):
        raise AdminError(
            f"what answers at {url} is not Ganymede (status {status}): say --url"
        ) from None
    if status in (401, 403):
        raise AdminError(f"{detail} (here: --key, or GANYMEDE_KEY)")
    if status >= 400:
        raise AdminError(detail)
    return document


def _change(url: str, key: str | None, name: str, action: str, body: dict[str, Any]) -> None:
    _show(call(url, key, "POST", f"/admin/models/{quote(name, safe='')}/{action}", body))


def _show(model: dict[str, Any]) -> None:
    """A model in lines, one for each of its versions."""
    for version in model["versions"]:
        default = " default" if version["default"] else ""
        told = "".join(f"  {why}" for why in (version["reason"], version["notice"]) if why)
        typer.echo(f"{model['name']}/{version['version']}  {version['state']}{default}{told}")
    if model["notice"]:
        typer.echo(f"{model['name']}: {model['notice']}")
