"""The named networks, their weights, and what becomes of pictures before them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch.nn import functional

from training.errors import FeaturesMissing
from training.metrics import features
from training.metrics.efficientnet import Convolution, EfficientNetLite0
from training.metrics.features import Extractor, lite0, of_judge, read_weights, resized
from training.metrics.judge import FEATURES, Judge

DAISY = 985  # of ImageNet's classes
PALACE, MONASTERY, BELL_COTE = 698, 663, 442


def weights() -> dict[str, torch.Tensor]:
    spec = importlib.util.find_spec(features.LITE0_PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / features.LITE0_FILE
    return read_weights(path, features.LITE0_SHA256)


def test_lite0_knows_a_flower_and_a_temple() -> None:
    found, network = weights(), EfficientNetLite0().eval()
    network.load_state_dict({k: v for k, v in found.items() if not k.startswith("_fc.")})
    china, flower = (torch.from_numpy(p[:426, 100:526].copy()) for p in load_sample_images().images)
    x = torch.stack([china, flower]).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        logits = network((resized(x, 224) - 127) / 128) @ found["_fc.weight"].T + found["_fc.bias"]
    assert int(logits[0].argmax()) in (PALACE, MONASTERY, BELL_COTE)
    assert int(logits[1].argmax()) == DAISY


def test_features_are_of_each_picture_alone_and_grey_is_rgb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "CHUNK", 2)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 28, 28, 1), np.uint8)
    look, told = lite0(), []
    found = look(images, lambda step, done, total: told.append((step, done, total)))
    assert found.shape == (3, 1280)
    assert told == [("features: lite0", 2, 3), ("features: lite0", 3, 3)]
    np.testing.assert_allclose(look(images[2:]), found[2:], atol=1e-4)
    np.testing.assert_allclose(look(np.repeat(images, 3, axis=3)), found, atol=1e-4)
    assert np.abs(found[0] - found[1]).max() > 0.1
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        look(np.zeros((1, 28, 28, 4), np.uint8))


@pytest.mark.parametrize(("side", "kernel", "stride"), [(6, 3, 2), (7, 5, 2), (5, 3, 1)])
def test_padding_is_that_of_tensorflow(side: int, kernel: int, stride: int) -> None:
    # SAME: ceil(side / stride) outputs, and of an odd number of rows the larger half is below.
    convolution, x = Convolution(1, 1, kernel, stride), torch.randn(1, 1, side, side)
    outputs = -(-side // stride)
    total = max((outputs - 1) * stride + kernel - side, 0)
    padded = functional.pad(x, (total // 2, total - total // 2) * 2)
    expected = functional.conv2d(padded, convolution.weight, stride=stride)
    assert convolution(x).shape == (1, 1, outputs, outputs)
    torch.testing.assert_close(convolution(x), expected)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(FeaturesMissing, match="and must have 579344248a93e230"):
        read_weights(path, features.LITE0_SHA256)
    with pytest.raises(FeaturesMissing, match="cannot be read: No such file"):
        read_weights(tmp_path / "none.pth", features.LITE0_SHA256)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "LITE0_PACKAGE", "nobody_has_this")
    with pytest.raises(FeaturesMissing, match=r"pip install -e '.\[features\]'"):
        lite0()


def test_distances_are_named_after_their_features() -> None:
    judged = of_judge(Judge(16, 1, 10), "of digits")
    assert judged(np.zeros((2, 16, 16, 1), np.uint8)).shape == (2, FEATURES)
    assert [judged.distance_name(kind) for kind in "FK"] == ["FD-judge", "KD-judge"]
    real = Extractor("inception", "", judged.look)
    assert [real.distance_name(kind) for kind in "FK"] == ["FID", "KID"]
