"""What every test of training needs: little data, and one thread on a shared machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.tiny import write_npz

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 grey images of 16 pixels in four classes."""
    return write_npz(tmp_path_factory.mktemp("data") / "stripes.npz")
