"""The soak, for some seconds: everything at once, with workers killed, and all adds up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.processes import ROOT

pytestmark = pytest.mark.acceptance

PATIENCE_S = 200
KINDS = ("generate 200", "text 200", "translate 200", "reference 200", "encode 200", "score 200",
         "V2 infer 200",
         "plain URL 200", "known tag 304", "malformed 422", "too large 413")  # fmt: skip


def test_a_soak_of_20_s_adds_up(tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("workers are found in /proc, which is not here")
    path = tmp_path / "soak.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak", "--seconds", "20", "--json", str(path)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if "GANYMEDE" not in name},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(path.read_text())
    assert told["complete"]
    assert all(told["kinds"].get(kind, 0) for kind in KINDS)
    assert sum(told["changes"].values()) > 0
