"""``python -m service.openapi`` writes ``openapi.json`` anew, for a change of it that is meant."""

from __future__ import annotations

from pathlib import Path

from service.app import create_app
from service.config import ServiceConfig
from service.documentation import document

PATH = Path(__file__).parent / "openapi.json"


def render() -> str:
    """The OpenAPI document of this code, as it is tracked."""
    return document(create_app(ServiceConfig()).openapi())


if __name__ == "__main__":
    PATH.write_text(render(), "utf-8")
