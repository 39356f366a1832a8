"""The Inception-v3 of FID: its shapes and its resizing; against torch-fidelity where that is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from training.errors import FeaturesMissing
from training.metrics import features, inception
from training.metrics.inception import InceptionV3, tensorflow_resized


def test_resizing_is_that_of_tensorflow_1() -> None:
    # Row k of 6 takes from k * 3 / 6: no half pixel, and the last row repeats.
    x = torch.tensor([0.0, 10.0, 40.0]).reshape(1, 1, 3, 1).expand(1, 1, 3, 3)
    assert tensorflow_resized(x, 6)[0, 0, :, 0].tolist() == [0, 5, 10, 25, 40, 40]
    assert torch.equal(tensorflow_resized(x, 3), x)


def test_its_parameters_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        network = InceptionV3()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert sum(value.numel() for value in network.parameters()) == 23_850_960
    assert shapes["Mixed_5b.branch_pool.conv.weight"] == (32, 192, 1, 1)
    assert shapes["Mixed_6c.branch7x7dbl_2.conv.weight"] == (160, 160, 7, 1)
    assert shapes["Mixed_7c.branch3x3dbl_3b.bn.running_var"] == (384,)
    assert shapes["fc.bias"] == (1008,)
    assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 2048)


def test_only_the_known_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.zeros(1)}, path)
    with pytest.raises(FeaturesMissing, match="and must have 6726825d0af5f729"):
        features.inception(path)
    monkeypatch.setattr(features, "InceptionV3", _Means)
    torch.save(_Means().state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(features, "INCEPTION_SHA256", sha256)
    look = features.inception(path)
    assert look.distance_name("F") == "FID"
    found = look(np.full((2, 8, 8, 1), 7, np.uint8))
    assert found.tolist() == [[7, 7, 7]] * 2  # as levels, RGB


class _Means(torch.nn.Module):
    """Stands for the network: the mean of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * self.scale


def test_features_are_those_of_torch_fidelity(tmp_path: Path) -> None:
    theirs = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3",
        reason="torch-fidelity (which needs torchvision) is not installed",
    )
    torch.manual_seed(0)
    network = InceptionV3().eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias)
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    other = theirs.FeatureExtractorInceptionV3(
        "it", ["2048"], feature_extractor_weights_path=str(tmp_path / "weights.pth")
    )
    levels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(network(levels.float()), other(levels)[0], atol=1e-4, rtol=1e-4)
    assert inception.SIDE == other.INPUT_IMAGE_SIZE
