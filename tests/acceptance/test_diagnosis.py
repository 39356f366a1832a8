"""The made-to-fail and the healthy runs that the fast suite leaves out, one seed each: a minute.

With more seeds: ``python -m bench.diagnosis``.
"""

from __future__ import annotations

import pytest
import torch

from bench.diagnosis import measure
from bench.failing import CASES
from tests.training.diagnose.test_diagnosis import SHOWN

pytestmark = pytest.mark.acceptance

LEFT_OUT = [name for name in CASES if name not in SHOWN]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_each_failure_is_named_and_nobody_healthy_is_accused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.train.write_report", lambda run: None)  # nobody reads it
    torch.set_num_threads(1)
    row = measure(name, seed=0)
    assert row["said"] == row["made"], (row["findings"], row["metrics"])
