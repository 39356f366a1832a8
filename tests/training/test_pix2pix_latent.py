"""pix2pix with a latent: several pictures of one source, and a term that keeps them apart."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from tests.training.test_recipes import OneBatch
from tests.training.tiny import tiny_batch, tiny_config, tiny_recipe
from training import losses
from training.errors import ConfigError
from training.log import Log
from training.recipe import Batch, Shape
from training.recipes.mode_seeking import twice
from training.recipes.pix2pix import Pix2Pix
from training.train import begin
from training.trainer import step

OPTIONS: list[dict[str, Any]] = [
    {"latent": 3},
    {"latent": 3, "mode_seeking": 0.5, "dropout_levels": 0},
    {"latent": 3, "mode_seeking": 1.0, "objective": "relativistic"},
    {"latent": 3, "mode_seeking": 1.0, "adversarial": "none"},
]


def pix2pix(**settings: Any) -> Pix2Pix:  # noqa: ANN401
    shape = Shape(1, 16, source_channels=1)
    return cast(Pix2Pix, tiny_recipe("pix2pix", shape, **settings))


class OnePair(OneBatch):
    def batch(self, k: int) -> Batch:
        return tiny_batch()


def test_the_picture_depends_on_the_latent_and_the_source() -> None:
    generator = pix2pix(latent=3, dropout_levels=0).generator
    source, z = torch.rand(2, 1, 16, 16) * 2 - 1, torch.randn(2, 3)
    made = generator(source, z)
    assert made.shape == (2, 1, 16, 16)
    assert (made - generator(source, z.flip(0))).abs().max() > 1e-4
    assert (made - generator(source.flip(0), z)).abs().max() > 1e-4
    torch.testing.assert_close(generator(source[:1], z[:1]), made[:1])


def test_inputs_are_the_source_the_latent_and_the_masks() -> None:
    recipe, batch = pix2pix(latent=3, dropout_levels=1), tiny_batch()
    source, z, mask = recipe.inputs(batch)
    assert torch.equal(source, cast(Tensor, batch.source))
    assert z.shape == (8, 3)
    assert z.std().item() == pytest.approx(1, abs=0.4)
    assert set(mask.flatten().tolist()) == {0, 1}
    assert len(pix2pix(dropout_levels=1).inputs(batch)) == 2


@pytest.mark.parametrize("settings", OPTIONS)
def test_terms_are_those_that_were_asked_for(settings: dict[str, Any]) -> None:
    recipe = pix2pix(**settings)
    found = {
        f"{p.name}/{n}": t for p in recipe.phases() for n, t in p.loss(tiny_batch(), 0).items()
    }
    game = settings.get("adversarial") != "none"
    wanted = {"g/l1"} | ({"d/adversarial", "g/adversarial"} if game else set())
    assert set(found) == wanted | ({"g/mode_seeking"} if "mode_seeking" in settings else set())
    assert all(term.ndim == 0 and term.isfinite() for term in found.values())


@pytest.mark.parametrize("settings", OPTIONS[:3])
@pytest.mark.parametrize("phase_index", [0, 1])
def test_one_step_changes_exactly_what_the_phase_learns(
    settings: dict[str, Any], phase_index: int
) -> None:
    config, recipe = tiny_config("none", "pix2pix", settings), pix2pix(**settings)
    state = begin(recipe, config.schedule.ema_kimg, 0, torch.device("cpu"))
    phase = recipe.phases()[phase_index]
    before = {name: p.detach().clone() for name, p in recipe.named_parameters()}
    learnt = {id(p) for p in phase.learns.parameters()}
    step(phase, state, OnePair(), config.schedule, Fabric(devices=1), Log())
    changed = {n for n, p in recipe.named_parameters() if not torch.equal(p, before[n])}
    may_change = {n for n, p in recipe.named_parameters() if id(p) in learnt}
    assert {n for n in may_change if before[n].ndim > 1} <= changed <= may_change


def test_both_pictures_of_a_source_are_judged_and_near_the_truth() -> None:
    recipe = pix2pix(latent=3, mode_seeking=0.5, dropout_levels=0, reconstruction_weight=10.0)
    batch = tiny_batch()
    torch.manual_seed(3)
    found = recipe.g_loss(batch, 0)
    torch.manual_seed(3)
    z, asked = torch.randn(16, 3), twice(batch)
    made = recipe.generator(cast(Tensor, asked.source), z)
    torch.testing.assert_close(found["l1"], 10 * (made - asked.x).abs().mean())
    apart = losses.mode_seeking(made[:8], made[8:], z[:8], z[8:])
    torch.testing.assert_close(found["mode_seeking"], 0.5 * apart)
    assert recipe.logits(made, asked).shape[0] == 16


def test_mode_seeking_without_a_latent_is_refused() -> None:
    with pytest.raises(ConfigError, match="compares two latents: give it some"):
        pix2pix(mode_seeking=1.0)
