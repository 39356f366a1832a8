"""The linear preset, trained whole by the trainer, learns what principal components are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.coders import reconstruction
from tests.training.tiny import Silent, never
from training.config import load_preset
from training.run import load_run
from training.train import train

pytestmark = pytest.mark.acceptance


def test_the_linear_preset_is_within_2_percent_of_pca_and_spans_its_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.train.write_report", lambda run: None)  # nobody reads it
    torch.set_num_threads(1)
    assert train(load_preset("autoencoder-blocks-linear"), tmp_path / "run", Silent(), never)
    seen, unseen, space = reconstruction(load_run(tmp_path / "run"))
    assert (seen["pictures"], unseen["pictures"]) == ("training", "held-out")
    assert 1 - 1e-6 <= seen["times_pca"] <= 1.02  # no line through 16 numbers is nearer than PCA's
    assert unseen["times_pca"] <= 1.02
    assert space["largest_angle_degrees"] < 5
