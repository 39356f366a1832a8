"""README.md's table of settings is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.config import ServiceConfig
from service.settings import render, table

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


def test_readme_has_the_settings_of_this_code() -> None:
    assert render(README) == README, "run: python -m service.settings"


def test_every_setting_has_a_row_with_what_it_is() -> None:
    rows = re.findall(r"^\| `GANYMEDE_(\w+)` \| (.*) \| \S.* \|$", table(), re.MULTILINE)
    assert [name.lower() for name, _ in rows] == list(ServiceConfig.model_fields)
    defaults = dict(rows)
    assert defaults["PORT"] == "`8000`"
    assert defaults["THREADS"] == "`auto`"
    assert defaults["MODELS"] == "the starter model's"  # not a path of this machine
    assert defaults["CACHE_BYTES"] == "`67108864` (64 MiB)"
    assert defaults["DEFAULT_MODEL"] == ""


def test_readme_without_a_place_for_the_table_is_told() -> None:
    with pytest.raises(ValueError, match="no place"):
        render("# Ganymede\n")


def test_settings_that_the_readme_names_exist() -> None:
    known = {f"GANYMEDE_{name.upper()}" for name in ServiceConfig.model_fields}
    known |= {"GANYMEDE_KEY"}  # of `ganymede admin`, a client
    assert set(re.findall(r"GANYMEDE_[A-Z]\w*", README)) <= known
