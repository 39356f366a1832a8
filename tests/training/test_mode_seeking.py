"""Mode seeking: the number, its slope, and what it does to a step of a conditional recipe."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from tests.training.tiny import tiny_batch, tiny_recipe
from training import losses
from training.recipe import Batch
from training.recipes.gan import GAN
from training.recipes.mode_seeking import mode_seeking_terms, twice


def conditional(**settings: Any) -> GAN:  # noqa: ANN401
    return cast(GAN, tiny_recipe("cgan", **settings))


# The loss.


def test_the_number_is_that_of_batch_means() -> None:
    images, others = torch.zeros(2, 1, 1, 2), torch.tensor([[1.0, 0], [0, 3]]).reshape(2, 1, 1, 2)
    z, other_z = torch.zeros(2, 2), torch.tensor([[0.5, 0], [0, 1.5]])
    # Means of 1 and 0.5, hence a ratio of 2; the mean of the rows' own ratios is 2 as well, but
    # that of a batch in which one row has all the distance is not.
    found = losses.mode_seeking(images, others, z, other_z)
    assert found.item() == pytest.approx(1 / (2 + 1e-5))
    uneven = losses.mode_seeking(images, others, z, torch.tensor([[2.0, 0], [0, 0]]))
    assert uneven.item() == pytest.approx(1 / (1 / 0.5 + 1e-5))


def test_one_picture_for_all_latents_costs_most_and_it_is_finite() -> None:
    images, z = torch.rand(4, 1, 2, 2), torch.randn(2, 4, 3)
    collapsed = losses.mode_seeking(images, images.clone(), z[0], z[1])
    assert collapsed.item() == pytest.approx(1e5)
    nearly = losses.mode_seeking(images, images + 1e-3, z[0], z[1])
    assert nearly.item() < collapsed.item()


def test_the_slope_drives_the_two_pictures_apart() -> None:
    images = torch.tensor([0.5, -0.5]).reshape(1, 1, 1, 2).requires_grad_()
    others = torch.tensor([0.1, 0.5]).reshape(1, 1, 1, 2)
    z, other_z = torch.tensor([[0.0]]), torch.tensor([[1.4]])
    (slope,) = torch.autograd.grad(losses.mode_seeking(images, others, z, other_z), images)
    # d/dx of 1 / (a / 1.4 + e) with a = (|x_1 - .1| + |x_2 - .5|) / 2 = .7: -+ 1.4 / (2 a^2)
    expected = torch.tensor([-1, 1]).reshape(1, 1, 1, 2) * 1.4 / (2 * 0.7**2)
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=0)


# Its place in a recipe.


def test_twice_repeats_what_a_batch_has_in_the_same_order() -> None:
    batch = twice(Batch(torch.rand(3, 1, 4, 4), torch.tensor([2, 0, 1])))
    assert batch.y is not None
    assert batch.y.tolist() == [2, 0, 1, 2, 0, 1]
    assert torch.equal(batch.x[:3], batch.x[3:])
    assert batch.source is None
    assert batch.text is None


@pytest.mark.parametrize("weight", [0.1, 2.0])
def test_the_term_is_weighted_and_compares_pictures_of_one_label(weight: float) -> None:
    recipe, batch = conditional(mode_seeking=weight), tiny_batch()
    assert batch.y is not None
    torch.manual_seed(3)
    terms = recipe.g_loss(batch, 0)
    torch.manual_seed(3)
    z = torch.randn(16, 4)
    pictures = recipe.generator(z, torch.cat([batch.y, batch.y]))
    expected = losses.mode_seeking(pictures[:8], pictures[8:], z[:8], z[8:])
    assert set(terms) == {"adversarial", "mode_seeking"}
    torch.testing.assert_close(terms["mode_seeking"], weight * expected)


def test_without_weight_nothing_is_drawn_or_added() -> None:
    recipe = conditional()
    asked: list[int] = []
    recipe.generator.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    assert set(recipe.g_loss(tiny_batch(), 0)) == {"adversarial"}
    assert set(recipe.d_loss(tiny_batch(), 0)) == {"adversarial"}
    assert mode_seeking_terms(0.0, torch.rand(4, 1, 2, 2), torch.rand(4, 3)) == {}
    assert asked == [8, 8]


def test_the_discriminator_sees_both_pictures_of_a_label() -> None:
    recipe = conditional(mode_seeking=1.0)
    seen: list[Tensor] = []
    recipe.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    recipe.d_loss(tiny_batch(), 0)
    recipe.g_loss(tiny_batch(), 0)
    labels = tiny_batch().y
    assert labels is not None
    both = torch.cat([labels, labels])
    assert [label.tolist() for label in seen] == [x.tolist() for x in (labels, both, both)]


def test_every_real_picture_stands_beside_both_generated_ones() -> None:
    recipe, batch = (
        conditional(mode_seeking=1.0, objective="relativistic", d_norm="none"),
        tiny_batch(),
    )
    torch.manual_seed(3)
    found = recipe.d_loss(batch, 0)["adversarial"]
    torch.manual_seed(3)
    asked = twice(batch)
    fake = recipe.logits(recipe.generator(*recipe.inputs(asked)), asked)
    real = recipe.logits(batch.x, batch)
    expected = losses.relativistic_d(torch.cat([real, real]), fake)
    torch.testing.assert_close(found, expected)


def test_the_term_makes_latents_matter() -> None:
    """A few steps of the term alone: the pictures of two latents come to lie further apart."""
    recipe, batch = conditional(mode_seeking=1.0), twice(tiny_batch())
    optimizer = torch.optim.Adam(recipe.generator.parameters(), 1e-3)
    torch.manual_seed(1)
    found = []
    for _ in range(12):
        inputs = recipe.inputs(batch)
        term = recipe.g_terms(recipe.generator(*inputs), inputs)["mode_seeking"]
        optimizer.zero_grad()
        term.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append(term.item())
    assert found[-1] < 0.9 * found[0]
