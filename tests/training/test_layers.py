"""Layers against what their papers say they compute."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.errors import ConfigError
from training.layers import (
    ConditionalBatchNorm2d,
    Maxout,
    MinibatchDeviation,
    MinibatchDiscrimination,
    levels,
    one_hot_maps,
    pack,
    spectral,
)


def features(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 5 + 2


def test_conditional_batch_norm_starts_as_plain_batch_norm() -> None:
    x, y = features(), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = nn.BatchNorm2d(3)(x)
    torch.testing.assert_close(ConditionalBatchNorm2d(3, 3)(x, y), expected)


def test_conditional_batch_norm_scales_and_shifts_each_row_by_its_class() -> None:
    norm = ConditionalBatchNorm2d(3, 2)
    with torch.no_grad():
        norm.scale.weight.copy_(torch.tensor([[1.0, 1, 1], [2, 3, 4]]))
        norm.shift.weight.copy_(torch.tensor([[0.0, 0, 0], [5, 6, 7]]))
    x, y = features(), torch.tensor([0, 1, 0, 1, 1, 0])
    mean = x.mean((0, 2, 3), keepdim=True)
    deviation = (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    plain = (x - mean) / deviation
    styled = plain * torch.tensor([2.0, 3, 4])[:, None, None]
    styled = styled + torch.tensor([5.0, 6, 7])[:, None, None]
    expected = torch.where((y == 1)[:, None, None, None], styled, plain)
    torch.testing.assert_close(norm(x, y), expected, rtol=1e-5, atol=1e-5)


def test_conditional_batch_norm_in_eval_mode_does_not_mix_rows() -> None:
    norm = ConditionalBatchNorm2d(3, 2).eval()
    x, y = features(), torch.tensor([0, 1, 0, 1, 1, 0])
    torch.testing.assert_close(norm(x, y)[2:3], norm(x[2:3], y[2:3]))


def test_maxout_takes_the_largest_piece_of_each_unit() -> None:
    layer = Maxout(2, units=2, pieces=3)
    with torch.no_grad():
        layer.linear.weight.copy_(
            torch.tensor([[1.0, 0], [0, 1], [1, 1], [-1, 0], [0, -1], [0, 0]])
        )
        layer.linear.bias.zero_()
    answer = layer(torch.tensor([[2.0, -3.0], [-1.0, -1.0]]))
    assert answer.tolist() == [[2, 3], [-1, 1]]


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(20, 10), nn.Conv2d(3, 8, 3), nn.Embedding(7, 12)],
    ids=["linear", "convolution", "embedding"],
)
def test_spectral_norm_is_held_at_one(layer: nn.Module) -> None:
    torch.manual_seed(0)
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    nn.init.normal_(weight, 0, 3)
    layer = spectral(layer, "spectral")
    for _ in range(50):
        normalised = layer.weight  # each look in training mode is one power iteration
    assert isinstance(normalised, torch.Tensor)
    sigma = torch.linalg.matrix_norm(normalised.flatten(1), 2)
    assert sigma.item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_spectral_norm_only_where_it_is_asked_for(norm: str) -> None:
    layer = nn.Linear(3, 3)
    assert spectral(layer, norm) is layer  # type: ignore[arg-type]
    assert "parametrizations" not in dict(layer.named_modules())


def test_one_hot_maps_are_constant_over_the_picture() -> None:
    images = torch.zeros(2, 1, 3, 5, dtype=torch.bfloat16)
    maps = one_hot_maps(torch.tensor([2, 0]), 3, images)
    assert maps.shape == (2, 3, 3, 5)
    assert maps.dtype == images.dtype
    assert maps.float().mean((2, 3)).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(8, (1, 4)), (10, (1, 5)), (16, (2, 4)), (28, (2, 7)), (32, (3, 4)), (48, (3, 6)),
     (64, (4, 4)), (80, (4, 5)), (256, (6, 4)), (2048, (9, 4))],
)  # fmt: skip
def test_levels_halve_down_to_four_to_seven(size: int, expected: tuple[int, int]) -> None:
    assert levels(size) == expected


@pytest.mark.parametrize(
    ("size", "near"), [(1, "8"), (7, "8"), (30, "28"), (100, "96"), (1000, "1024")]
)
def test_a_size_that_does_not_halve_is_refused_with_one_that_does(size: int, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        levels(size)
    assert near in str(caught.value)
    assert "--set data.size=" in str(caught.value)
    assert "\n" not in str(caught.value)


# What a batch tells of its rows.


def test_minibatch_discrimination_is_section_3_2_of_salimans_et_al() -> None:
    layer = MinibatchDiscrimination(1, kernels=2, dims=2)
    with torch.no_grad():  # M_i = f(x_i) T: kernel 0 measures 2 |x_i - x_j|, kernel 1 measures none
        layer.project.weight.copy_(torch.tensor([[1.0], [-1], [0], [0]]))
    found = layer(torch.tensor([[0.0], [1], [3]]))
    near = torch.exp(-2 * torch.tensor([[0.0, 1, 3], [1, 0, 2], [3, 2, 0]])).sum(1)
    expected = torch.stack([torch.tensor([0.0, 1, 3]), near, torch.full((3,), 3.0)], 1)
    torch.testing.assert_close(found, expected)


def test_a_collapsed_batch_is_told_from_a_varied_one() -> None:
    torch.manual_seed(0)
    discrimination, deviation = MinibatchDiscrimination(8, 5, 3), MinibatchDeviation()
    varied = torch.randn(6, 8)
    same = varied[:1].expand(6, -1)
    torch.testing.assert_close(discrimination(same)[:, 8:], torch.full((6, 5), 6.0))
    assert (discrimination(varied * 9)[:, 8:] < 3).all()
    assert deviation(same)[:, 8].max() < 1e-3
    assert deviation(varied)[:, 8].min() > 0.5


def test_minibatch_deviation_is_the_mean_over_features_of_their_deviation() -> None:
    features = torch.tensor([[0.0, 5], [2, 5], [4, 5]])
    found = MinibatchDeviation()(features)
    expected = (8 / 3) ** 0.5 / 2
    torch.testing.assert_close(found[:, :2], features)
    torch.testing.assert_close(found[:, 2], torch.full((3,), expected), rtol=1e-4, atol=1e-4)


def test_a_batch_without_variance_has_finite_slopes() -> None:
    features = torch.ones(4, 3, requires_grad=True)
    for layer in (MinibatchDeviation(), MinibatchDiscrimination(3, 2, 2)):
        (slope,) = torch.autograd.grad(layer(features).sum(), features)
        assert slope.isfinite().all()


def test_packed_pictures_are_neighbours_as_channels() -> None:
    images = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 2, 3, 3)
    packed = pack(images, 3)
    assert packed.shape == (2, 6, 3, 3)
    assert packed[:, :, 0, 0].tolist() == [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]]
    assert torch.equal(pack(images, 1), images)


def test_a_batch_that_cannot_be_packed_is_refused() -> None:
    with pytest.raises(ConfigError, match="64 images cannot be packed 3 at a time"):
        pack(torch.zeros(64, 1, 2, 2), 3)
