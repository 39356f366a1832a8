"""Pairs of emoji: what is drawn, and what is kept apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.data import emoji, load
from training.data.emoji import Glyph, fluent_glyphs, in_split, openmoji_base, openmoji_glyphs
from training.data.named import NAMED
from training.errors import DataError

DRAWING = """<svg id="emoji" viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg">
<g id="color"><rect x="0" y="0" width="36" height="72" fill="#f00"/></g>
<g id="line"><rect x="36" y="0" width="36" height="36"/></g>
<g id="line-supplement"><rect x="36" y="36" width="36" height="36"/></g></svg>"""


@pytest.fixture(scope="module")
def installed() -> list[Glyph]:
    folder = emoji.openmoji_folder()
    assert folder is not None
    return openmoji_glyphs(folder)


def openmoji(folder: Path, count: int = 40) -> Path:
    """So many glyphs, all the same drawing."""
    folder.mkdir()
    for k in range(count):
        (folder / f"{0x1F400 + k:X}.svg").write_text(DRAWING)
    return folder


def fluent(folder: Path) -> Path:
    names = {f"animal-{k}" for k in range(20)}
    for style, fill, extra in (("flat", "#0f0", "only-flat"), ("high-contrast", "#000", "only-hc")):
        icon = {"body": f'<path fill="{fill}" d="M0 0h16v32H0z"/>'}
        home = folder / f"fluent-emoji-{style}"
        home.mkdir(parents=True)
        icons = {"icons": dict.fromkeys([*names, extra], icon)}
        (home / "icons.json").write_text(json.dumps(icons))
    return folder


def test_an_outline_is_the_drawing_without_its_colours(tmp_path: Path) -> None:
    data = load(f"openmoji-pairs:{openmoji(tmp_path / 'svg')}", size=8)
    assert data.sources is not None
    assert data.images.shape == (len(data), 8, 8, 3)
    assert data.sources.shape == (len(data), 8, 8, 1)
    assert (data.images[:, :, :4] == [255, 0, 0]).all()
    assert (data.images[:, :, 4:] == 0).all()
    assert (data.sources[:, :, :4] == 255).all()
    assert (data.sources[:, :, 4:] == 0).all()
    assert (data.licence, data.labels) == ("CC-BY-SA-4.0", None)
    assert "OpenMoji" in data.attribution


def test_the_splits_are_disjoint_and_a_fifth_is_for_the_test(tmp_path: Path) -> None:
    source = f"openmoji-pairs:{openmoji(tmp_path / 'svg')}"
    train, test = load(source, size=8), load(source, size=8, split="test")
    assert len(train) + len(test) == 40
    assert 0 < len(test) < 20


def test_the_package_holds_what_is_told(installed: list[Glyph]) -> None:
    for split, count in NAMED["openmoji-pairs"].counts.items():
        assert sum(in_split(glyph.base, split) for glyph in installed) == count


def test_variants_of_a_glyph_lie_in_one_split(installed: list[Glyph]) -> None:
    """Man, woman and person running, whichever way; families, whoever is in them."""
    running = {"1F3C3", "1F3C3-200D-2640-FE0F", "1F3C3-200D-2642-FE0F-200D-27A1-FE0F"}
    assert {openmoji_base(points.split("-")) for points in running} == {"1F3C3"}
    cooks = {"1F468-200D-1F373", "1F469-200D-1F373", "1F9D1-200D-1F373"}
    assert len({openmoji_base(points.split("-")) for points in cooks}) == 1
    families = {"1F468-200D-1F469-200D-1F467", "1F469-200D-1F469-200D-1F466-200D-1F466"}
    assert len({openmoji_base(points.split("-")) for points in families}) == 1
    assert openmoji_base(["1F408"]) != openmoji_base(["1F408", "200D", "2B1B"])
    assert len(installed) > len({glyph.base for glyph in installed})


def test_flags_and_skin_tones_are_left_out(tmp_path: Path) -> None:
    folder = openmoji(tmp_path / "svg", 1)
    for points in ("1F1E9-1F1EA", "1F3F3-FE0F-200D-1F308", "1F44B-1F3FD", "1F3FB", "1F44B"):
        (folder / f"{points}.svg").write_text(DRAWING)
    assert [glyph.base for glyph in openmoji_glyphs(folder)] == ["1F400", "1F44B"]


def test_fluent_pairs_are_what_both_styles_have(tmp_path: Path) -> None:
    folder = fluent(tmp_path / "icons")
    assert len(fluent_glyphs(folder)) == 20
    data = load(f"fluent-pairs:{folder}", size=8)
    assert data.sources is not None
    assert (data.images[:, :, :4] == [0, 255, 0]).all()
    assert (data.sources[:, :, :4] == 0).all()
    assert (data.sources[:, :, 4:] == 255).all()
    assert data.licence == "MIT"


def test_people_share_a_name_and_others_do_not(tmp_path: Path) -> None:
    folder = tmp_path
    names = ["man-cook", "woman-cook", "cook-pot", "manta", "women-holding-hands"]
    for style in ("flat", "high-contrast"):
        (folder / f"fluent-emoji-{style}").mkdir()
        icons = {"icons": {name: {"body": "<g/>"} for name in names}}
        (folder / f"fluent-emoji-{style}" / "icons.json").write_text(json.dumps(icons))
    bases = [glyph.base for glyph in fluent_glyphs(folder)]
    assert bases == ["cook-pot", "person-cook", "manta", "person-cook", "person-holding-hands"]


def test_glyphs_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"openmoji-pairs:{openmoji(tmp_path / 'svg')}"
    first = load(source, size=8)
    monkeypatch.setattr(emoji, "in_order", None)  # what draws
    again = load(source, size=8)
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.images, first.images)
    with pytest.raises(TypeError):
        load(source, size=10)


@pytest.mark.parametrize("name", ["openmoji-pairs", "fluent-pairs"])
def test_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="does not hold the"):
        load(f"{name}:{tmp_path}")


@pytest.mark.parametrize("name", ["openmoji-pairs", "fluent-pairs"])
def test_what_is_not_installed_says_how_to_get_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match=rf"(?s)not on this machine.*install.*{name}:/path"):
        load(name)


def test_drawing_needs_resvg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = openmoji(tmp_path / "svg")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install 'ganymede\[emoji\]'"):
        load(f"openmoji-pairs:{folder}")
