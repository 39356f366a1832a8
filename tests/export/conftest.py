"""One export that many tests look at: converting costs a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.bundle import Bundle
from export.publish import export_bundle
from tests.export.networks import conditional_run


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with ``animals`` version 1; read it, do not write to it."""
    folder = tmp_path_factory.mktemp("models")
    export_bundle(conditional_run(), folder, "animals")
    return folder


@pytest.fixture(scope="session")
def animals(models: Path) -> Bundle:
    """The bundle in it: three classes, 8x8 colour pictures."""
    from export.bundle import load_bundle

    return load_bundle(models / "animals" / "1")
