"""The confusion table of the diagnosis, of runs that need no training."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from rich.console import Console

from bench import diagnosis
from bench.command import BenchError
from bench.failing import CASES


def told(name: str, seed: int) -> diagnosis.Row:
    """As if everything were a mode collapse."""
    said = "mode collapse"
    return {
        "case": name,
        "seed": seed,
        "made": CASES[name].expected,
        "said": said,
        "findings": [said],
    }


def test_what_was_made_is_counted_against_what_was_said() -> None:
    rows = [told("8 pictures", 0), told("8 pictures", 1), told("D learns nearly nothing", 0)]
    console = Console(width=150)
    with console.capture() as shown:
        console.print(diagnosis.confusion(rows))
    lines = [line.replace("│", " ").split() for line in shown.get().splitlines()]
    assert ["memorisation", "2", "2"] in lines
    assert ["mode", "collapse", "1", "1"] in lines


def test_a_wrong_verdict_is_a_failure_and_a_right_one_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(diagnosis, "measure", told)
    diagnosis.main(seeds=2, case=["D learns nearly nothing"], json=tmp_path / "found.json")
    assert '"complete": true' in (tmp_path / "found.json").read_text()
    with pytest.raises(typer.Exit):
        diagnosis.main(seeds=1, case=["8 pictures"])


def test_a_case_that_is_not_there_is_named() -> None:
    with pytest.raises(BenchError, match="no case 'nine'"):
        diagnosis.main(seeds=1, case=["nine"])
