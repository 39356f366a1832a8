"""The table of mode seeking: what is trained for a weight, and what is shown of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import mode_seeking
from bench.measures import Budget
from bench.mode_seeking import CONTROL, as_markdown, weigh
from training.config import load_preset
from training.data.progress import silent


def test_a_weight_is_a_run_of_its_own_with_the_term_at_that_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, float]] = []

    class Stopped(Exception):
        pass

    def trained(preset: str, folder: Path, budget: Budget) -> tuple[Path, float]:
        config = load_preset(preset, budget.settings)
        asked.append((folder, config.recipe.mode_seeking))  # type: ignore[union-attr]
        assert config.schedule.kimg == 1
        raise Stopped

    monkeypatch.setattr(mode_seeking, "trained", trained)
    for weight in (0.0, CONTROL, 0.1, 1.0):
        with pytest.raises(Stopped):
            weigh("cgan-fashion-fast", weight, tmp_path, Budget(("schedule.kimg=1",)), silent)
    assert [weight for _, weight in asked] == [0.0, CONTROL, 0.1, 1.0]
    assert len({folder for folder, _ in asked}) == 4


def test_a_row_for_each_weight_and_one_of_real_pictures() -> None:
    figures = {
        "NDB": {"value": 12.0, "reference": 4.0},
        "JSD": {"value": 0.0125, "reference": None},
    }
    rows = [{"weight": w, "minutes": 2.0, "figures": figures} for w in (0.0, CONTROL)]
    lines = as_markdown(rows).splitlines()
    assert len(lines) == 5
    assert lines[2].startswith("| 0 | 2.0 |")
    assert lines[3].startswith("| two draws, no term | 2.0 |")
    assert lines[4].startswith("| real |  |")
    cells = [cell.strip() for cell in lines[4].split("|")[3:-1]]
    assert cells == ["4", ""]
    assert [cell.strip() for cell in lines[0].split("|")[3:-1]] == ["NDB", "JSD"]
