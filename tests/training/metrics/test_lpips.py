"""LPIPS: the paper's equation, whatever the weights; the authors' weights, where they are."""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.errors import FeaturesMissing
from training.metrics import lpips
from training.metrics.diversity import pairwise_distance
from training.metrics.pickled import arrays

Images = np.ndarray


def network() -> lpips.Lpips:
    torch.manual_seed(0)
    return lpips.Lpips().eval()


def noise(count: int, side: int = 70, channels: int = 3) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


def equation_1(network: lpips.Lpips, one: Tensor, other: Tensor) -> float:
    """Zhang et al. 2018, eq. 1: for each level the mean over places of weighed squares."""
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (lpips.MEAN, lpips.DEVIATION))
    x, total = (torch.stack([one, other]) - mean) / deviation, 0.0
    for level, (convolution, head) in enumerate(
        zip(network.convolutions, network.heads, strict=True)
    ):
        x = functional.max_pool2d(x, 3, 2) if level in (1, 2) else x
        x = functional.relu(convolution(x))
        a, b = functional.normalize(x, dim=1)
        total += float((head[:, None, None] * (a - b).square()).sum(0).mean())
    return total


def test_it_is_the_papers_equation() -> None:
    images = noise(2)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        expected = equation_1(network(), *planes)
    found = lpips.within(network(), images, np.zeros(2, np.int64))
    assert found == pytest.approx(expected, rel=1e-4)


def test_only_pictures_of_one_group_are_compared() -> None:
    one, other = noise(2)
    images = np.stack([one, one, other, other])
    assert lpips.within(network(), images, np.array([0, 0, 1, 1])) == pytest.approx(0, abs=1e-6)
    assert lpips.within(network(), images, np.array([0, 1, 0, 1])) > 0.01
    assert lpips.within(network(), images, np.array([0, 0, 1, 2])) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="two pictures of one group"):
        lpips.within(network(), images, np.arange(4))


def test_small_and_grey_pictures_are_seen() -> None:
    assert lpips.within(network(), noise(2, side=28, channels=1), np.zeros(2, np.int64)) > 0


def test_the_squared_distance_is_the_square() -> None:
    features = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert pairwise_distance(features) == pytest.approx(5)
    assert pairwise_distance(features, squared=True) == pytest.approx(25)


def test_arrays_are_read_and_nothing_else() -> None:
    old = pickle.dumps({"a": {"b": np.arange(3.0)}}, protocol=3).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    )
    assert arrays(old)["a"]["b"].tolist() == [0, 1, 2]
    with pytest.raises(FeaturesMissing, match=r"system.*no array"):
        arrays(pickle.dumps({"a": os.system}))


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / lpips.PACKAGE
    (package / lpips.FILE).parent.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('it is run')")
    (package / lpips.FILE).write_bytes(b"another")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(FeaturesMissing, match="SHA-256"):
        lpips.lpips()


def test_without_the_package_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips, "PACKAGE", "no_such_package")
    assert lpips.lpips() is None


@pytest.mark.skipif(importlib.util.find_spec(lpips.PACKAGE) is None, reason="not installed")
def test_what_looks_alike_is_near() -> None:
    found = lpips.lpips()
    assert found is not None
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    picture = np.stack([np.tile(ramp, (64, 1))] * 3, 2)
    brighter = np.clip(picture.astype(int) + 10, 0, 255).astype(np.uint8)
    pair = np.zeros(2, np.int64)
    near = lpips.within(found, np.stack([picture, brighter]), pair)
    far = lpips.within(found, np.stack([picture, noise(1, 64)[0]]), pair)
    assert 0 < near < 0.1 < far
