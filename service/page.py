"""The pages for people and their files: all of them from this package, none from elsewhere."""

from __future__ import annotations

import hashlib
import html
from functools import cache
from pathlib import Path

from service.errors import UnknownModel
from service.replies import Reply, matches

STATIC = Path(__file__).parent / "static"
_OWN = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'self'; "
_OWN += "form-action 'self'; frame-ancestors 'none'; img-src 'self' data:; "
POLICIES = {
    "index": _OWN + "style-src 'self'",
    "docs": _OWN + "style-src 'self' 'unsafe-inline'",  # Swagger UI sets styles from its script
}
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page(name: str, root_path: str) -> Reply:
    """``index`` or ``docs``; its links are relative to ``root_path``."""
    text = (STATIC / f"{name}.html").read_text("utf-8")
    body = text.replace("{{root_path}}", html.escape(root_path)).encode()
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": POLICIES[name],
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }
    return Reply(200, body, headers)


def asset(name: str, known_tags: str | None) -> Reply:
    """A file that a page needs.

    Raises:
        UnknownModel: there is none of that name.
    """
    path = _assets().get(name)
    if path is None:
        raise UnknownModel(f"there is no file static/{name}")
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if matches(known_tags, etag):
        return Reply(304, headers=headers)
    return Reply(200, body, headers | {"Content-Type": _TYPES[path.suffix]})


@cache
def _assets() -> dict[str, Path]:
    """Known names only: nothing that a client sends becomes a path."""
    return {path.name: path for path in STATIC.rglob("*") if path.suffix in _TYPES}
