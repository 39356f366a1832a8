"""Losses against numbers worked out by hand, and against torch's own."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training import losses
from training.losses import OBJECTIVES, zero_centred_penalty
from training.recipes.gan import ObjectiveName

LOG2 = math.log(2)
LOG3 = math.log(3)
# D = sigmoid(logit): a logit of log 3 is D = 3/4, one of -log 3 is D = 1/4.
REAL = torch.tensor([0.0, LOG3])
FAKE = torch.tensor([0.0, -LOG3])
HALF, THREE_QUARTERS, QUARTER = LOG2, math.log(4 / 3), math.log(4)  # -log of each


def test_every_objective_can_be_chosen_by_name() -> None:
    assert set(get_args(ObjectiveName)) == set(OBJECTIVES)


@pytest.mark.parametrize(
    ("loss", "arguments", "expected"),
    [
        # -log 1/2 and -log 3/4 on real; 1 - D of the fakes is 1/2 and 3/4.
        (losses.minimax_d, (REAL, FAKE), HALF + THREE_QUARTERS),
        (losses.minimax_g, (FAKE,), -(HALF + THREE_QUARTERS) / 2),
        (losses.nonsaturating_g, (FAKE,), (HALF + QUARTER) / 2),
        (losses.maximum_likelihood_g, (FAKE,), -(1 + 1 / 3) / 2),
        # ((0-1)^2 + (2-1)^2) / 2 = 1 on real, (1 + 9) / 2 = 5 on fake; their sum halved.
        (losses.least_squares_d, (torch.tensor([0.0, 2]), torch.tensor([1.0, -3])), 3.0),
        (losses.least_squares_g, (torch.tensor([1.0, -3]),), 4.0),
        # max(0, 1 - x): 1 and 0 on real; max(0, 1 + x): 2.5 and 0 on fake.
        (losses.hinge_d, (torch.tensor([0.0, 2]), torch.tensor([1.5, -3])), 0.5 + 1.25),
        (losses.hinge_g, (torch.tensor([1.5, -3]),), 0.75),
        # Pairs: real - fake is 0 and 2 log 3, whose sigmoid is 9/10.
        (losses.relativistic_d, (REAL, FAKE), (LOG2 + math.log(10 / 9)) / 2),
        (losses.relativistic_g, (REAL, FAKE), (LOG2 + math.log(10)) / 2),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_loss_is_the_paper_s_number(
    loss: object, arguments: tuple[Tensor, ...], expected: float
) -> None:
    assert callable(loss)
    assert loss(*arguments).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_better_fakes_lower_g_and_raise_d(name: str) -> None:
    objective = OBJECTIVES[name]
    real = torch.tensor([0.3, -0.2, 0.5], requires_grad=True)
    fake = torch.tensor([0.4, 0.1, 0.2], requires_grad=True)
    (g_slope,) = torch.autograd.grad(objective.g(real, fake), fake)
    d_real_slope, d_fake_slope = torch.autograd.grad(objective.d(real, fake), (real, fake))
    assert (g_slope < 0).all()
    assert (d_fake_slope > 0).all()
    assert (d_real_slope < 0).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_only_a_pairing_objective_looks_at_real_images_in_g(name: str) -> None:
    objective, fake = OBJECTIVES[name], torch.tensor([0.5, -1])
    one, other = (objective.g(torch.full((2,), x), fake) for x in (0.0, 3.0))
    assert (one != other).item() == objective.pairs


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"maximum_likelihood"}))
@pytest.mark.parametrize("sign", [1, -1])
def test_losses_and_slopes_are_finite_at_huge_logits(name: str, sign: int) -> None:
    objective = OBJECTIVES[name]
    real = torch.tensor([sign * 1e4], requires_grad=True)
    fake = torch.tensor([-sign * 1e4], requires_grad=True)
    total = objective.d(real, fake) + objective.g(real, fake)
    torch.autograd.backward(total)
    assert total.isfinite()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.isfinite()
    assert fake.grad.isfinite()


def test_a_sure_discriminator_costs_its_logit_not_infinity() -> None:
    assert losses.minimax_d(torch.tensor([-1e4]), torch.tensor([1e4])).item() == 2e4
    assert losses.minimax_d(torch.tensor([1e4]), torch.tensor([-1e4])).item() == 0


def test_saturated_minimax_g_has_no_slope_where_the_nonsaturating_one_has() -> None:
    slopes = []
    for loss in (losses.minimax_g, losses.nonsaturating_g):
        fake = torch.tensor([-20.0], requires_grad=True)
        torch.autograd.backward(loss(fake))
        assert fake.grad is not None
        slopes.append(fake.grad.item())
    assert slopes[0] == pytest.approx(0, abs=1e-8)
    assert slopes[1] == pytest.approx(-1)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_sigmoid_cross_entropy_is_torch_s(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, generator=generator) * scale
    targets = torch.rand(64, generator=generator)
    ours = losses.sigmoid_cross_entropy(logits, targets)
    torch.testing.assert_close(
        ours, functional.binary_cross_entropy_with_logits(logits, targets), rtol=1e-6, atol=1e-6
    )


def test_sigmoid_cross_entropy_with_one_hot_labels_is_the_logits_form() -> None:
    """Column 0 real, column 1 generated: the label picks log D or log(1 - D)."""
    logits = torch.tensor([[2.0], [-1.0], [0.5], [-3.0]])
    real = torch.tensor([True, False, True, False])
    one_hot = functional.one_hot((~real).long(), 2).float()
    both = torch.cat([logits, -logits], 1)  # D says real with x, generated with -x
    picked = torch.where(
        real, functional.softplus(-logits[:, 0]), functional.softplus(logits[:, 0])
    )
    assert losses.sigmoid_cross_entropy(both, one_hot).item() == pytest.approx(picked.mean().item())


def test_minimax_d_is_cross_entropy_with_ones_and_zeros() -> None:
    real, fake = torch.tensor([1.5, -2, 0.1]), torch.tensor([0.4, 3, -1])
    entropy = losses.sigmoid_cross_entropy(real, torch.ones(3))
    entropy = entropy + losses.sigmoid_cross_entropy(fake, torch.zeros(3))
    torch.testing.assert_close(losses.minimax_d(real, fake), entropy)


def test_penalty_of_a_linear_discriminator_is_the_norm_of_its_weight() -> None:
    weight = torch.tensor([3.0, -4.0, 0, 0]).reshape(1, 2, 2)
    images = torch.randn(5, 1, 2, 2, requires_grad=True)
    logits = (images * weight).flatten(1).sum(1)
    assert zero_centred_penalty(logits, images).item() == pytest.approx(25)


def test_penalty_of_a_quadratic_discriminator_is_four_times_the_norm_of_its_image() -> None:
    images = torch.tensor([1.0, 2, 3, 4, 0, 0, 0, 1]).reshape(2, 1, 2, 2).requires_grad_()
    logits = images.square().flatten(1).sum(1)  # gradient 2x, so ||.||^2 = 4 ||x||^2
    penalty = zero_centred_penalty(logits, images)
    assert penalty.item() == pytest.approx((4 * 30 + 4 * 1) / 2)


def test_penalty_is_differentiated_once_more() -> None:
    scale = torch.tensor(3.0, requires_grad=True)
    images = torch.ones(2, 1, 2, 2, requires_grad=True)
    penalty = zero_centred_penalty((scale * images).flatten(1).sum(1), images)
    assert penalty.item() == pytest.approx(36)  # 4 pixels, each with slope 3
    torch.autograd.backward(penalty)
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(24)  # d(4 s^2)/ds = 8 s


# Of coders: per picture, in nats.


def test_bernoulli_nll_is_a_coin_for_each_pixel() -> None:
    logits = torch.tensor([[[0.0, LOG3]], [[-LOG3, LOG3]]])  # D = 1/2, 3/4; 1/4, 3/4
    pixels = torch.tensor([[[1.0, 1.0]], [[1.0, 0.5]]])
    grey = (THREE_QUARTERS + QUARTER) / 2
    expected = (HALF + THREE_QUARTERS + QUARTER + grey) / 2  # two pictures
    assert losses.bernoulli_nll(logits, pixels).item() == pytest.approx(expected, rel=1e-6)


def test_gaussian_nll_is_the_density_of_torch() -> None:
    random = torch.Generator().manual_seed(0)
    mean, x = torch.randn(2, 5, 1, 3, 4, generator=random)
    for log_std in (-1.5, 0.0, 0.7):
        normal = torch.distributions.Normal(mean, math.exp(log_std))
        log_likelihood: Tensor = normal.log_prob(x)  # type: ignore[no-untyped-call]
        expected = -log_likelihood.flatten(1).sum(1).mean()
        torch.testing.assert_close(losses.gaussian_nll(mean, torch.tensor(log_std), x), expected)


def test_gaussian_kl_is_that_of_torch_and_zero_at_the_prior() -> None:
    random = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 6, 3, generator=random)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1).mean()
    torch.testing.assert_close(losses.gaussian_kl(mean, log_variance), expected)
    assert losses.gaussian_kl(torch.zeros(4, 3), torch.zeros(4, 3)).item() == 0


def test_mean_squared_error_is_over_pictures_and_pixels() -> None:
    found, target = torch.tensor([[1.0, 2], [0, 0]]), torch.tensor([[0.0, 0], [0, 3]])
    assert losses.mean_squared_error(found, target).item() == (1 + 4 + 9) / 4


# Energies.


def test_the_norm_is_that_of_the_difference() -> None:
    images = torch.zeros(2, 1, 1, 2)
    made = torch.tensor([[3.0, 4], [0, -1]]).reshape(2, 1, 1, 2)
    torch.testing.assert_close(losses.reconstruction_norm(images, made), torch.tensor([5.0, 1]))


def test_the_cosine_is_between_brightnesses_above_black() -> None:
    images = torch.tensor([[1.0, -1], [1, -1], [0, 0]]).reshape(3, 1, 1, 2)
    made = torch.tensor([[0.0, -1], [-1, 1], [0, -1]]).reshape(3, 1, 1, 2)
    expected = torch.tensor([0, 1, 1 - 0.5**0.5])  # half as bright, elsewhere, half of it missing
    torch.testing.assert_close(losses.cosine_distance(images, made), expected)


def test_a_perfect_or_a_black_picture_has_finite_energies_and_slopes() -> None:
    for energy in losses.ENERGIES.values():
        made = torch.full((2, 1, 2, 2), -1.0, requires_grad=True)
        found = energy(torch.full((2, 1, 2, 2), -1.0), made)
        torch.autograd.backward(found.sum())
        assert found.isfinite().all()
        assert made.grad is not None
        assert made.grad.isfinite().all()


def test_margin_game_is_the_paper_s_number() -> None:
    real, fake = torch.tensor([1.0, 3]), torch.tensor([4.0, 12])
    assert losses.margin_d(real, fake, 10.0).item() == pytest.approx(2 + (6 + 0) / 2)
    assert losses.energy_g(fake).item() == pytest.approx(8)


def test_pulling_away_is_the_mean_square_cosine_of_the_others() -> None:
    same = torch.tensor([[1.0, 2], [2, 4], [-1, -2]])  # one line: each pair has cosine 1 or -1
    right = torch.tensor([[5.0, 0], [0, 0.1]])
    mixed = torch.tensor([[1.0, 0], [1, 0], [0, 1]])  # of six ordered pairs, two are alike
    found = [losses.pulling_away(codes).item() for codes in (same, right, mixed)]
    assert found == pytest.approx([1, 0, 2 / 6], abs=1e-6)


def test_mean_absolute_error_is_over_pictures_and_pixels() -> None:
    found, target = torch.tensor([[0.0, 1], [2, 3]]), torch.tensor([[1.0, 1], [0, 6]])
    assert losses.mean_absolute_error(found, target).item() == (1 + 0 + 2 + 3) / 4
