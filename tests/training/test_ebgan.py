"""The energy-based pair: its game, its code, what it remembers, and its start."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from tests.training.test_recipes import OneBatch
from tests.training.tiny import SHAPE, Silent, never, tiny_batch, tiny_config, tiny_recipe
from training import data
from training.data.batches import Batches
from training.log import Log
from training.losses import pulling_away
from training.recipe import Batch, Shape
from training.recipes.ebgan import EBGAN
from training.run import load_run
from training.train import begin, train
from training.trainer import step

OPTIONS: list[dict[str, Any]] = [
    {},
    {"energy": "cosine", "margin": 0.3},
    {"code": None},
    {"code": None, "upsampling": "transposed", "d_norm": "batch", "initial_std": 0.02},
    {"d_stem": True, "r1": 1.0},
    {"networks": "perceptrons", "hidden": 8, "pulling_away": 0},
    {"networks": "perceptrons", "hidden": 8, "code": None, "r2": 1.0},
]


def ebgan(shape: Shape = SHAPE, **settings: Any) -> EBGAN:  # noqa: ANN401
    return cast(EBGAN, tiny_recipe("ebgan", shape, **settings))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 28, 48])
@pytest.mark.parametrize("settings", OPTIONS, ids=lambda s: "-".join(s) or "plain")
def test_pictures_come_back_in_their_shape_and_range(
    settings: dict[str, Any], size: int, channels: int
) -> None:
    recipe, batch = ebgan(Shape(channels, size), **settings), tiny_batch(4, channels, size)
    pictures = recipe.generator(*recipe.inputs(batch))
    made, code = recipe.discriminator(batch.x)
    for found in (pictures, made):
        assert found.shape == (4, channels, size, size)
        assert found.abs().max() <= 1
    assert code.shape[0] == 4
    assert code.shape[1] == 4 or settings.get("code", 4) is None
    assert (recipe.logits(batch.x, batch) >= 0).all()


@pytest.mark.parametrize("phase_index", [0, 1])
@pytest.mark.parametrize("settings", OPTIONS, ids=lambda s: "-".join(s) or "plain")
def test_one_step_changes_only_what_the_phase_learns(
    settings: dict[str, Any], phase_index: int
) -> None:
    changed, learnt = changed_by_a_step(phase_index, **settings)
    assert changed
    assert changed <= learnt


def changed_by_a_step(phase_index: int, **settings: Any) -> tuple[set[str], set[str]]:  # noqa: ANN401
    """The parameters that a step of a phase changes, and those that it may change."""
    config, recipe = tiny_config("none", "ebgan", settings), ebgan(**settings)
    state = begin(recipe, config.schedule.ema_kimg, 0, torch.device("cpu"))
    phase = recipe.phases()[phase_index]
    before = {name: p.detach().clone() for name, p in recipe.named_parameters()}
    learns = {id(p) for p in phase.learns.parameters()}
    step(phase, state, OneBatch(), config.schedule, Fabric(devices=1), Log())
    parameters = dict(recipe.named_parameters())
    changed = {name for name, p in parameters.items() if not torch.equal(p, before[name])}
    return changed, {name for name, p in parameters.items() if id(p) in learns}


def test_the_game_is_the_paper_s() -> None:
    recipe, batch = ebgan(margin=20.0, pulling_away=0.5), tiny_batch()
    torch.manual_seed(1)
    d = recipe.d_loss(batch, 0)
    torch.manual_seed(1)
    g = recipe.g_loss(batch, 0)
    torch.manual_seed(1)
    fake, code = recipe.judged(recipe.generator(*recipe.inputs(batch)))
    real = recipe.logits(batch.x, batch)
    assert (fake < 20).all()  # the hinge is open
    torch.testing.assert_close(d["adversarial"], real.mean() + (20 - fake).mean())
    torch.testing.assert_close(g["adversarial"], fake.mean())
    torch.testing.assert_close(g["pulling_away"], 0.5 * pulling_away(code))
    assert d.keys() == {"adversarial"}
    assert g.keys() == {"adversarial", "pulling_away"}


def test_fakes_beyond_the_margin_are_left_alone() -> None:
    recipe, batch = ebgan(margin=1e-3), tiny_batch()
    real = recipe.logits(batch.x, batch)
    torch.testing.assert_close(recipe.d_loss(batch, 0)["adversarial"], real.mean())


def test_while_it_is_trained_alone_the_autoencoder_only_makes_again() -> None:
    recipe, batch = ebgan(pretrain_kimg=0.016), tiny_batch()
    assert recipe.d_loss(batch, 15).keys() == {"reconstruction"}
    assert recipe.d_loss(batch, 16).keys() == {"adversarial"}
    assert recipe.g_loss(batch, 16).keys() == {"adversarial", "pulling_away"}
    assert changed_by_a_step(0, pretrain_kimg=1)[0]
    assert changed_by_a_step(1, pretrain_kimg=1)[0] == set()


def test_the_energies_kept_are_of_training_images_by_the_weights_kept(
    npz: Path, tmp_path: Path
) -> None:
    """Also with batch norm, which in training judges a picture by its batch."""
    config = tiny_config(npz, "ebgan", {"d_norm": "batch", "code": None})
    assert train(config, tmp_path / "run", Silent(), never)
    loaded = load_run(tmp_path / "run")
    recipe, batches = cast(EBGAN, loaded.recipe), Batches(data.load(npz), 48, 0)
    with torch.no_grad():
        energies = recipe.logits(batches.fixed(48).x, batches.fixed(48))
    known = recipe.energies
    assert energies.std() > 1e-3
    assert ((known[:, None] - energies).abs() < 1e-4).any(1).all()  # each is of a training image
    for share in (0.1, 0.5, 0.9):  # and all images are among them, in their shares
        found, expected = known.quantile(share), energies.quantile(share)
        torch.testing.assert_close(found, expected, rtol=0, atol=0.2 * float(energies.std()))


def test_signals_are_the_energies_of_both() -> None:
    recipe, batch = ebgan().eval(), tiny_batch()
    signals = recipe.signals(batch)
    assert signals.keys() > {"energy_real", "energy_fake", "accuracy_fake"}
    assert signals["energy_real"] == recipe.logits(batch.x, batch).mean()


@pytest.mark.parametrize("margin", [0.1, 20.0])
@pytest.mark.parametrize(
    ("real", "fake", "divergence"),
    [(0.2, 1.2, math.log(2)), (0.2, 0.7, 0.61), (0.2, 0.2, 0), (1.2, 0.2, 0)],
)
def test_energies_a_margin_apart_show_log_2_and_equal_ones_nothing(
    real: float, fake: float, divergence: float, margin: float
) -> None:
    recipe, batch = ebgan(margin=margin).eval(), tiny_batch()

    def energy(images: Tensor, batch: Batch) -> Tensor:
        return torch.full((len(images),), margin * (real if images is batch.x else fake))

    recipe.logits = energy  # type: ignore[method-assign]
    signals = recipe.signals(batch)
    assert signals["jsd"].item() == pytest.approx(divergence, abs=0.01)
    assert signals["accuracy_real"] == signals["accuracy_fake"] == (real < fake)


def test_an_autoencoder_that_learnt_gives_strange_pictures_a_higher_energy() -> None:
    recipe = ebgan(networks="perceptrons", hidden=16, energy="cosine", margin=0.3)
    optimizer = torch.optim.Adam(recipe.discriminator.parameters(), 1e-2)
    x = torch.full((16, 1, 16, 16), -1.0)
    for place, picture in enumerate(x):
        picture[:, :, place // 4 * 4 : place // 4 * 4 + 4] = 1  # upright stripes
    batch = type(tiny_batch())(x)
    torch.manual_seed(1)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(list(recipe.d_loss(batch, 0).values()))
        optimizer.step()
    known, strange = recipe.logits(x, batch), recipe.logits(x.mT, batch)
    assert known.max() < strange.min()
