"""A cache of its own for every test, and no data but what the test makes."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GANYMEDE_CACHE", str(folder))
    monkeypatch.delenv("GANYMEDE_DATA", raising=False)
    return folder
